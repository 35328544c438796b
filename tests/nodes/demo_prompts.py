"""Graphs that give the demo model a prompt."""

from graphs import keep, node

DEMO = {"demo": node("MagicStyle_DemoModel")}
PROMPT = "photo of a woman with red hair, blue sweater, hills behind her"


def text(prompt, clip=("demo", 2)):
    return node("CLIPTextEncode", clip=list(clip), text=prompt)


def encoded(texts, *prompts):
    """Contexts ``(1, tokens, 64)`` of prompts."""
    graph = dict(DEMO)
    for index, prompt in enumerate(prompts):
        graph |= {f"text {index}": text(prompt), f"keep {index}": keep([f"text {index}", 0], f"{index}")}
    kept = texts(graph)
    return [kept[f"{index}"][0][0] for index in range(len(prompts))]


def sampled(conditionings, cfg=3.0, size=64, batch=1, steps=2, sampler="euler", scheduler="normal", model=("demo", 0)):
    """KSampler from noise with each of the conditionings (a link, and nodes before it); keeps latents by name."""
    graph = {
        **DEMO,
        "negative": text("glasses"),
        "empty": node("EmptyLatentImage", width=size, height=size, batch_size=batch),
    }
    for name, (link, before) in conditionings.items():
        graph |= before | {
            f"sampled {name}": node(
                "KSampler", model=list(model), seed=5, steps=steps, cfg=cfg, sampler_name=sampler, scheduler=scheduler,
                positive=link, negative=["negative", 0], latent_image=["empty", 0], denoise=1.0,
            ),
            f"keep {name}": keep([f"sampled {name}", 0], name),
        }  # fmt: skip
    return graph


def prompt(name, words):
    return [name, 0], {name: text(words)}
