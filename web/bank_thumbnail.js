// Shows the thumbnail of a bank's file on Load Feature Bank as soon as its name is chosen.
// The host serves the header of the file; the picture takes the place of a preview, which a run replaces.
// Whatever is missing - file, thumbnail, a function of the page - nothing is shown and nothing breaks.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

const NODE = "MagicStyle_LoadBank";
const HEADER = "/view_metadata/magicstyle_banks?filename=";
const PICTURE = "data:image/jpeg;base64,";

async function thumbnail(name) {
    const answer = await api.fetchApi(HEADER + encodeURIComponent(name));
    const uri = answer.ok ? (await answer.json())["modelspec.thumbnail"] : undefined;
    if (!uri?.startsWith(PICTURE)) return null;
    const bytes = Uint8Array.from(atob(uri.slice(PICTURE.length)), (letter) => letter.charCodeAt(0));
    return new Blob([bytes], { type: "image/jpeg" });
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
    name: "MagicStyle.BankThumbnail",
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
