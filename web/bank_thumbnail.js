// Shows the thumbnail of a bank's file on Load Feature Bank as soon as its name is chosen.
// The host serves the header of the file; the picture takes the place of a preview, which a run replaces.
// Whatever is missing - file, thumbnail, a function of the page - nothing is shown and nothing breaks.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

const NODE = "MagicStyle_LoadBank";
const HEADER = "/view_metadata/magicstyle_banks?filename=";
const PICTURE = "data:image/jpeg;base64,";

// The bounds that nodes/pictures.py has: a small file may stand for a picture that takes gigabytes or seconds.
const LONGEST = 200_000, LARGEST = 256;

function places(bytes, mark) {
    const found = [];
    for (let i = 0; i < bytes.length - 9; i++) if (bytes[i] === 0xff && bytes[i + 1] === mark) found.push(i);
    return found;
}

function isSmall(bytes) {
    const frames = places(bytes, 0xc0), scans = places(bytes, 0xda);
    const size = (at, first) => bytes[at + first] * 256 + bytes[at + first + 1];
    return frames.length === 1 && scans.length === 1 && [5, 7].every((side) => size(frames[0], side) <= LARGEST);
}

async function thumbnail(name) {
    const answer = await api.fetchApi(HEADER + encodeURIComponent(name));
    const uri = answer.ok ? (await answer.json())["modelspec.thumbnail"] : undefined;
    if (!uri?.startsWith(PICTURE) || uri.length > LONGEST) return null;
    const bytes = Uint8Array.from(atob(uri.slice(PICTURE.length)), (letter) => letter.charCodeAt(0));
    return isSmall(bytes) ? new Blob([bytes], { type: "image/jpeg" }) : null;
}

async function show(node, widget) {
    const name = widget.value;
    try {
        if (typeof name !== "string" || name === "" || node.graph !== app.graph) return;
        const blob = await thumbnail(name);
        // Another name may have been chosen meanwhile, or the node removed.
        if (!blob || widget.value !== name || node.graph !== app.graph) return;
        const id = String(node.id);
        api.dispatchCustomEvent("b_preview_with_metadata", { blob, nodeId: id, displayNodeId: id, realNodeId: id });
        node.setDirtyCanvas?.(true, true);
    } catch (error) {
        console.debug("MagicStyle: no thumbnail for", name, error);
    }
}

function nameWidget(node) {
    return node?.comfyClass === NODE ? node.widgets?.find((widget) => widget.name === "name") : undefined;
}

app.registerExtension({
    name: "magicstyle.bank_thumbnail",
    nodeCreated(node) {
        const widget = nameWidget(node);
        if (!widget) return;
        const chosen = widget.callback;
        widget.callback = function (...values) {
            const result = chosen?.apply(this, values);
            show(node, widget);
            return result;
        };
        setTimeout(() => show(node, widget)); // once the node has its place and its value
    },
    loadedGraphNode(node) {
        const widget = nameWidget(node);
        if (widget) setTimeout(() => show(node, widget));
    },
});
