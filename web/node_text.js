// Makes room for the text that a node shows after a run: the classic rendering leaves three lines for it and cuts the rest.
// Whatever is missing on the page, a node stays as it is and nothing breaks.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

const WIDGET = "$$node-text-preview";
const FONT = "12px Inter, Arial, sans-serif", LINE = 16;
const BESIDE = 56, ABOVE = 44; // margins and padding around the text
const LARGEST = 220; // beyond it the page itself puts a scroll bar

const measure = document.createElement("canvas").getContext("2d");

function lines(text, width) {
    measure.font = FONT;
    let count = 0;
    for (const paragraph of text.split("\n")) {
        let line = "";
        count += 1;
        for (const word of paragraph.split(" ")) {
            const longer = line ? `${line} ${word}` : word;
            if (line && measure.measureText(longer).width > width) {
                count += 1;
                line = word;
            } else line = longer;
        }
    }
    return count;
}

function makeRoom(id, text) {
    try {
        const node = app.canvas.graph?.getNodeById(Number(String(id).split(":").at(-1))); // within the open subgraph
        const widget = node?.comfyClass?.startsWith("MagicStyle_") && node.widgets?.find(({ name }) => name === WIDGET);
        if (!widget?.options) return;
        const height = () => Math.min(LARGEST, ABOVE + LINE * lines(text, node.size[0] - BESIDE));
        widget.options.getMinHeight = height;
        const [width, least] = node.computeSize();
        node.setSize([Math.max(width, node.size[0]), Math.max(least, node.size[1])]);
        node.setDirtyCanvas?.(true, true);
    } catch (error) {
        console.debug("MagicStyle: no room for the text of", id, error);
    }
}

app.registerExtension({
    name: "magicstyle.node_text",
    setup() {
        api.addEventListener("progress_text", ({ detail }) => {
            if (typeof detail?.text === "string") setTimeout(() => makeRoom(detail.nodeId, detail.text));
        });
    },
});
