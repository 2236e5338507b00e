"""English words for every fact of the theatre.

`{gait}` stands for how a subject moves along (a boat sails). Verbs are in the third person; english.py makes
participles of them.
"""

from piying.theatre.scene import TROUPE

NOUNS: dict[str, tuple[str, ...]] = {
    "boat": ("boat", "sailing boat", "sailboat"),
    "car": ("car", "motor car"),
    "train": ("train", "steam train"),
    "balloon": ("balloon", "hot air balloon", "hot-air balloon"),
    "kite": ("kite",),
    "fish": ("fish",),
    "bird": ("bird",),
    "butterfly": ("butterfly",),
    "cat": ("cat", "kitty"),
    "dog": ("dog", "doggy"),
    "horse": ("horse", "steed"),
    "dragon": ("dragon", "Chinese dragon"),
    "girl": ("girl",),
    "boy": ("boy",),
    "dawa": ("DaWa",),
    "erwa": ("ErWa",),
    "sanwa": ("SanWa",),
    "siwa": ("SiWa",),
    "wuwa": ("WuWa",),
    "liuwa": ("LiuWa",),
    "qiwa": ("QiWa",),
    "grandpa": ("GrandPa",),
    "snake_lady": ("Snake Lady",),
}
ANY_NOUN = ("puppet", "figure")  # for a subject that is not told
COLOURS = {
    "red": ("red", "bright red", "crimson"),
    "orange": ("orange",),
    "yellow": ("yellow", "golden yellow"),
    "green": ("green",),
    "blue": ("blue",),
    "purple": ("purple", "violet"),
    "pink": ("pink",),
    "white": ("white", "snow-white"),
    "black": ("black", "jet-black"),
}
DRESS = ("{noun} in {colour}", "{noun} dressed in {colour}")  # how people have a colour
SIZES = {
    "small": ("small", "little", "tiny"),
    "large": ("large", "big", "huge"),
}

GAITS: dict[str, tuple[str, ...]] = {
    "boat": ("sails", "glides", "drifts"),
    "car": ("drives", "rolls"),
    "train": ("rolls", "runs", "chugs"),
    "balloon": ("floats", "drifts", "flies"),
    "kite": ("flies", "glides", "floats"),
    "fish": ("swims", "glides"),
    "bird": ("flies", "glides"),
    "butterfly": ("flutters", "flies"),
    "cat": ("walks", "runs", "trots"),
    "dog": ("runs", "trots", "walks"),
    "horse": ("gallops", "trots", "runs"),
    "dragon": ("flies", "glides", "soars"),
    "girl": ("walks", "runs", "strolls"),
    "boy": ("walks", "runs", "strolls"),
    **dict.fromkeys(TROUPE, ("walks", "runs")),
}
ANY_GAIT = ("moves", "goes")
MOTIONS = {
    "left": ("{gait} left", "{gait} to the left", "{gait} towards the left", "{gait} from right to left"),
    "right": ("{gait} right", "{gait} to the right", "{gait} towards the right", "{gait} from left to right"),
    "rise": ("rises", "rises slowly", "goes up", "moves upwards", "rises into the air"),
    "sink": ("sinks", "sinks slowly", "goes down", "moves downwards", "comes down"),
    "jump": ("jumps", "hops", "jumps up and down", "leaps up and down", "hops up and down"),
    "spin": ("spins", "spins around", "turns round and round", "twirls", "spins in place"),
    "circle": ("circles", "{gait} in a circle", "{gait} in circles", "goes round in a circle"),
    "sway": ("sways", "sways in place", "rocks from side to side", "sways gently", "swings from side to side"),
    "still": ("stands still", "stays still", "stays in place", "keeps still", "rests in place"),
}
FLIERS = ("balloon", "kite", "bird", "butterfly", "dragon")
FURTHER: tuple[tuple[tuple[str, ...], dict[str, tuple[str, ...]]], ...] = (  # motions that only some have
    ((*FLIERS, "fish"), {"rise": ("{gait} up",), "sink": ("{gait} down",), "still": ("hovers in place",)}),
)

PLACES = {
    "sea": ("the sea", "the ocean"),
    "meadow": ("a meadow", "a grassy meadow", "a field of grass"),
    "forest": ("a forest", "the woods"),
    "desert": ("a desert", "a sandy desert"),
    "snowfield": ("a snowfield", "a snowy field", "a field of snow"),
    "mountains": ("the mountains", "a mountain landscape"),
    "night_city": ("a city", "a city with lit windows", "a city of lights"),
    "room": ("a child's room", "a child's room with a carpet", "a nursery"),
    "stage": ("an empty stage", "a bare stage", "an empty theatre stage"),
}
WAYS = ("across {place}", "over {place}", "through {place}")  # of travellers; of fliers outdoors; of forest and city

STYLES: dict[str, tuple[str, ...]] = {
    "paper": ("coloured paper", "colored paper", "paper cutout", "paper cutout style"),
    "black_and_white": ("black and white", "monochrome"),
    "shadow": ("shadow play", "shadow puppets", "silhouettes"),
    "ink": ("ink wash", "ink wash painting", "Chinese ink painting"),
    "cartoon": ("cartoon", "cartoon style", "cartoon with thick outlines"),
    "woodcut": ("woodcut", "woodblock print"),
    "embroidery": ("embroidery", "silk embroidery"),
}

ADVERBS: dict[str, dict[str, tuple[str, ...]]] = {
    "backdrop": {
        "sea": ("at sea", "on the sea", "on the ocean", "by the sea"),
        "meadow": ("in a meadow", "on a meadow", "in a grassy meadow", "on a field of grass"),
        "forest": ("in a forest", "in the forest", "in the woods"),
        "desert": ("in a desert", "in the desert", "in a sandy desert"),
        "snowfield": ("on a snowfield", "in a snowfield", "in a snowy field", "on a field of snow"),
        "mountains": ("in the mountains", "in front of the mountains", "in a mountain landscape"),
        "night_city": ("in a city", "in a city of lights", "in front of a city with lit windows"),
        "room": ("in a child's room", "in a child's room with a carpet", "in a nursery"),
        "stage": ("on an empty stage", "on a bare stage", "on an empty theatre stage"),
    },
    "light": {
        "day": ("by day", "in daylight", "during the day"),
        "dusk": ("at dusk", "at sunset", "in the evening light"),
        "night": ("at night", "by night", "after dark"),
    },
    "weather": {
        "clear": ("in clear weather", "in fine weather"),
        "rain": ("in the rain", "in the falling rain"),
        "snow": ("in falling snow",),
        "leaves": ("among falling leaves",),
        "fog": ("in the fog", "in mist", "in thick fog"),
    },
}
MEANWHILE: dict[str, dict[str, tuple[str, ...]]] = {  # the same beside another verb
    "weather": {
        "rain": ("while it rains",),
        "snow": ("while it snows", "while snow falls"),
        "leaves": ("while leaves fall", "while leaves drift down"),
    },
    "camera": {
        "still": ("as the camera holds still",),
        "pan_left": ("as the camera pans left",),
        "pan_right": ("as the camera pans right",),
        "zoom_in": ("as the camera zooms in",),
        "zoom_out": ("as the camera zooms out",),
        "tilt_up": ("as the camera tilts up",),
    },
}
CLAUSES: dict[str, dict[str, tuple[str, ...]]] = {
    "backdrop": {
        value: tuple(f"{what} is {place}" for what in ("the scene", "the backdrop") for place in places)
        for value, places in PLACES.items()
    },
    "light": {
        "day": ("it is day", "it is daytime"),
        "dusk": ("it is dusk", "the sun is setting"),
        "night": ("it is night", "night has fallen"),
    },
    "weather": {
        "clear": ("the weather is clear", "the weather is fine"),
        "rain": ("it is raining", "rain is falling"),
        "snow": ("it is snowing", "snow is falling"),
        "leaves": ("leaves are falling", "autumn leaves drift down"),
        "fog": ("it is foggy", "fog hangs in the air"),
    },
    "camera": {
        "still": ("the camera holds still", "the camera stays still", "the camera does not move"),
        "pan_left": ("the camera pans left", "the camera pans to the left", "the camera moves left"),
        "pan_right": ("the camera pans right", "the camera pans to the right", "the camera moves right"),
        "zoom_in": ("the camera zooms in", "the camera slowly zooms in", "the camera moves closer"),
        "zoom_out": ("the camera zooms out", "the camera slowly zooms out", "the camera pulls back"),
        "tilt_up": ("the camera tilts up", "the camera tilts upwards", "the camera looks up"),
    },
    "style": {
        "paper": (*STYLES["paper"], "in coloured paper", "in paper cutout style"),
        "black_and_white": (*STYLES["black_and_white"], "in black and white"),
        "shadow": (*STYLES["shadow"], "as a shadow play", "in silhouette"),
        "ink": (*STYLES["ink"], "in ink wash", "as an ink painting"),
        "cartoon": (*STYLES["cartoon"], "as a cartoon", "in cartoon style"),
        "woodcut": (*STYLES["woodcut"], "as a woodcut"),
        "embroidery": (*STYLES["embroidery"], "in embroidery"),
    },
}
FOLLOWS = {"pan_left": "the camera follows, panning left", "pan_right": "the camera follows, panning right"}
KEYWORDS: dict[str, dict[str, tuple[str, ...]]] = {
    "backdrop": PLACES,
    "light": {
        "day": ("day", "daytime", "daylight"),
        "dusk": ("dusk", "sunset", "evening"),
        "night": ("night", "nighttime"),
    },
    "weather": {
        "clear": ("clear weather", "fine weather"),
        "rain": ("rain", "rainy"),
        "snow": ("falling snow", "snowfall"),
        "leaves": ("falling leaves",),
        "fog": ("fog", "foggy", "mist"),
    },
    "camera": {
        "still": ("static camera", "fixed camera"),
        "pan_left": ("camera panning left", "camera pan left"),
        "pan_right": ("camera panning right", "camera pan right"),
        "zoom_in": ("camera zooming in", "camera zoom in"),
        "zoom_out": ("camera zooming out", "camera zoom out"),
        "tilt_up": ("camera tilting up", "camera tilt up"),
    },
    "style": STYLES,
}
PICTURES = {
    "paper": ("a paper cutout of {main}",),
    "black_and_white": ("a black and white film of {main}",),
    "shadow": ("a shadow play of {main}",),
    "ink": ("an ink painting of {main}",),
    "cartoon": ("a cartoon of {main}",),
    "woodcut": ("a woodcut of {main}",),
    "embroidery": ("an embroidery of {main}",),
}
PAPER = "paper"  # what a subject may be made of
PAIRS = ("{first} and {second}", "{first} while {second}")

VERBS = (GAITS, ANY_GAIT, MOTIONS, *(motions for _, motions in FURTHER))
LEXICON = (
    *(NOUNS, ANY_NOUN, COLOURS, DRESS, SIZES, *VERBS),
    *(PLACES, WAYS, ADVERBS, MEANWHILE, STYLES, KEYWORDS, CLAUSES, FOLLOWS, PICTURES, PAPER, PAIRS),
)
