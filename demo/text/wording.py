"""The words of captions. Pairs are (a noun that follows "with", an adjective or a phrase of its own)."""

from __future__ import annotations

HAIR = {
    "black": ("black", "black", "jet black", "raven"),
    "dark brown": ("dark brown", "dark brown", "dark", "brunette"),
    "brown": ("brown", "brown", "chestnut"),
    "light brown": ("light brown", "light brown", "hazel"),
    "blonde": ("blonde", "blonde", "blond", "golden", "fair"),
    "red": ("red", "red", "ginger", "auburn", "copper"),
    "grey": ("grey", "grey", "gray", "silver"),
    "white": ("white", "white", "snow white"),
}
CUTS = {
    "short": ("short {}hair", "{}short hair"),
    "swept": ("{}swept hair", "swept {}hair", "{}hair swept back"),
    "bangs": ("{}hair with bangs", "{}bangs", "{}fringe"),
    "long": ("long {}hair", "{}long hair", "long straight {}hair"),
    "wavy": ("wavy {}hair", "{}wavy hair", "{}waves"),
    "bob": ("{}bob", "{}bob cut", "{}hair in a bob"),
    "curly": ("curly {}hair", "{}curls", "{}curly hair"),
    "bun": ("{}hair in a bun", "{}bun", "{}hair tied up in a bun"),
    "quiff": ("{}quiff", "{}hair in a quiff"),
    "cropped": ("cropped {}hair", "{}cropped hair", "{}buzz cut"),
}
LONG_CUTS = ("bangs", "long", "wavy", "bob", "bun")
FEATURES: dict[str, dict[str, tuple[tuple[str, str], ...]]] = {
    "skin": {
        "fair": (("fair skin", "fair skinned"), ("pale skin", "pale"), ("light skin", "light skinned")),
        "tan": (("tan skin", "tanned"), ("tanned skin", "tan skinned"), ("olive skin", "olive skinned")),
        "dark": (("dark skin", "dark skinned"), ("brown skin", "brown skinned")),
    },
    "glasses": {
        "glasses": (("glasses", "wearing glasses"), ("spectacles", "spectacles"), ("eyeglasses", "glasses")),
        "none": (("no glasses", "without glasses"),),
    },
    "beard": {
        "beard": (("beard", "bearded"), ("full beard", "bearded"), ("beard and moustache", "beard")),
        "moustache": (("moustache", "moustache"), ("mustache", "mustache")),
        "none": (("no beard", "clean shaven"),),
    },
    "mouth": {
        "smiling": (("smile", "smiling"), ("happy smile", "happy"), ("smile", "cheerful")),
        "serious": (("serious look", "serious"), ("stern look", "stern"), ("sad look", "sad")),
        "open": (("open mouth", "mouth open"), ("parted lips", "talking"), ("teeth showing", "showing teeth")),
    },
    "age": {
        "old": (("wrinkles", "old"), ("wrinkles", "elderly"), ("lines in the face", "aged")),
        "young": (("smooth skin", "young"), ("youthful face", "youthful")),
    },
}
OFTEN = {("glasses", "none"): 0.08, ("beard", "none"): 0.08, ("age", "young"): 0.5}
MARKS = {
    "freckles": (("freckles", "freckled"), ("freckles", "freckles")),
    "earring": (("earrings", "earrings"), ("earring", "earring")),
}
ADJECTIVES = frozenset(
    "bearded smiling happy cheerful serious stern sad old elderly aged young youthful freckled pale tanned".split()
)
GARMENTS = {
    "crew": ("sweater", "jumper", "crew neck", "tee", "pullover"),
    "vee": ("v neck", "v neck sweater", "v neck top"),
    "shirt": ("shirt", "collared shirt", "button up shirt"),
    "suit": ("suit", "jacket", "suit jacket", "blazer", "suit and tie"),
    "turtle": ("turtleneck", "turtleneck sweater", "roll neck"),
    "hoodie": ("hoodie", "hooded sweater", "hoody"),
    "scarf": ("scarf", "shawl", "big scarf"),
}
PATTERNS = {
    "plain": ("plain",),
    "stripes": ("striped", "striped", "stripy"),
    "checks": ("checked", "checked", "plaid", "checkered"),
    "knit": ("knitted", "knit", "woolen"),
}
COLORS = {
    "black": ("black", "black", "dark", "charcoal black"),
    "grey": ("grey", "gray"),
    "white": ("white", "white", "pale"),
    "red": ("red", "red", "crimson", "pink"),
    "brown": ("brown", "brown", "orange", "tan", "beige"),
    "yellow": ("yellow", "yellow", "golden", "mustard"),
    "green": ("green",),
    "teal": ("teal", "teal", "turquoise", "cyan"),
    "blue": ("blue",),
    "purple": ("purple", "purple", "violet", "magenta"),
}
BACKDROPS = {
    "studio": ("studio", "wall", "background", "plain background", "studio backdrop", "studio background"),
    "bokeh": ("bokeh", "blurred lights", "lights", "bokeh lights", "bokeh background"),
    "hills": ("hills", "landscape", "mountains", "hills and sky"),
    "window": ("window", "room with a window", "wall with a window"),
    "shelf": ("bookshelf", "books", "shelves", "library", "shelf of books"),
    "foliage": ("foliage", "leaves", "trees", "garden", "forest"),
}
PLACES = ("{} behind her", "{} behind", "in front of {}", "{} in the background", "{}", "{} background", "behind {}")
STYLES = {
    "photo": ("photo", "photo", "photograph", "photo portrait"),
    "oil": ("oil painting", "oil painting", "oil on canvas", "oil"),
    "watercolor": ("watercolor", "watercolor", "watercolour", "watercolor painting", "aquarelle"),
    "hatching": ("hatching", "cross hatching", "hatched ink drawing", "pen drawing"),
    "halftone": ("halftone", "halftone print", "newspaper print", "comic dots"),
    "mosaic": ("mosaic", "mosaic", "tiles", "mosaic of tiles"),
    "woodcut": ("woodcut", "woodcut", "woodcut print", "linocut"),
    "poster": ("poster", "poster", "flat poster", "screen print", "poster art"),
    "pastel": ("pastel", "pastel", "pastel drawing", "chalk drawing", "crayon"),
    "pointillism": ("pointillism", "pointillism", "pointillist painting", "painted dots"),
    "engraving": ("engraving", "engraving", "engraved print", "etching"),
    "neon": ("neon", "neon", "neon lines", "neon sign", "neon art"),
    "stained": ("stained glass", "stained glass", "stained glass window art", "church glass"),
    "risograph": ("risograph", "risograph", "riso print", "risograph print"),
    "charcoal": ("charcoal", "charcoal drawing", "charcoal sketch"),
}
PREFIXES = ("{} of", "a {} of", "{} portrait of", "{},")
PEOPLE = ("person", "person", "portrait", "face", "someone", "human", "figure")
WOMEN = ("woman", "woman", "woman", "lady", "girl", "female portrait", "woman face")
MEN = ("man", "man", "man", "guy", "boy", "gentleman", "male portrait")
