"""Chinese words for every fact of the theatre.

`{gait}` stands for how a subject moves along in one character (漂, 游), `{going}` for that or something longer
(漂去, 航行), `{place}` for a noun of the backdrop.
"""

from piying.theatre.scene import TROUPE

NOUNS: dict[str, tuple[str, ...]] = {
    "boat": ("船", "帆船"),
    "car": ("汽车", "车"),
    "train": ("火车", "蒸汽火车"),
    "balloon": ("气球", "热气球"),
    "kite": ("风筝",),
    "fish": ("鱼", "鱼儿"),
    "bird": ("鸟", "飞鸟"),
    "butterfly": ("蝴蝶",),
    "cat": ("猫", "猫咪"),
    "dog": ("狗", "狗狗"),
    "horse": ("马", "骏马"),
    "dragon": ("龙", "飞龙"),
    "girl": ("女孩", "姑娘"),
    "boy": ("男孩", "男孩子"),
    "dawa": ("大娃",),
    "erwa": ("二娃",),
    "sanwa": ("三娃",),
    "siwa": ("四娃",),
    "wuwa": ("五娃",),
    "liuwa": ("六娃",),
    "qiwa": ("七娃",),
    "grandpa": ("爷爷",),
    "snake_lady": ("蛇夫人",),
}
ANY_NOUN = ("纸偶", "东西")  # for a subject that is not told
MEASURES = {
    "boat": ("一艘", "一条"),
    "car": ("一辆",),
    "train": ("一列",),
    "balloon": ("一只", "一个"),
    "kite": ("一只", "一个"),
    "fish": ("一条",),
    "bird": ("一只",),
    "butterfly": ("一只",),
    "cat": ("一只",),
    "dog": ("一条", "一只"),
    "horse": ("一匹",),
    "dragon": ("一条",),
    "girl": ("一个", "一名"),
    "boy": ("一个", "一名"),
}
ANY_MEASURE = ("一个",)
COLOURS = {  # before 的
    "red": ("红色", "鲜红"),
    "orange": ("橙色", "橘色"),
    "yellow": ("黄色", "金黄"),
    "green": ("绿色", "翠绿"),
    "blue": ("蓝色",),
    "purple": ("紫色",),
    "pink": ("粉色", "粉红色"),
    "white": ("白色", "雪白"),
    "black": ("黑色", "漆黑"),
}
TINTS = {  # before a noun
    "red": "红",
    "orange": "橙色",
    "yellow": "黄",
    "green": "绿",
    "blue": "蓝",
    "purple": "紫",
    "pink": "粉色",
    "white": "白",
    "black": "黑",
}
DRESS = ("穿{tint}衣服的", "穿着{tint}衣服的")  # how people have a colour
SIZES = {  # before 的
    "small": ("小小", "很小"),
    "large": ("很大", "巨大"),
}
PREFIXES = {"small": "小", "large": "大"}  # before a noun
STATURES = {"small": ("小小", "瘦小"), "large": ("高大", "高高大大")}  # SIZES of people
BUILDS = {"small": "小", "large": "大个子"}  # PREFIXES of people: 大女孩 would be an elder one

GAITS: dict[str, tuple[str, ...]] = {
    "boat": ("漂", "驶"),
    "car": ("开", "驶"),
    "train": ("开", "驶"),
    "balloon": ("飘", "飞"),
    "kite": ("飞", "飘"),
    "fish": ("游",),
    "bird": ("飞",),
    "butterfly": ("飞",),
    "cat": ("走", "跑"),
    "dog": ("跑", "走"),
    "horse": ("跑", "奔"),
    "dragon": ("飞",),
    "girl": ("走", "跑"),
    "boy": ("走", "跑"),
    **dict.fromkeys(TROUPE, ("走", "跑")),
}
LONG_GAITS: dict[str, tuple[str, ...]] = {
    "boat": ("航行", "行驶"),
    "car": ("行驶",),
    "train": ("行驶",),
    "balloon": ("飘动",),
    "kite": ("飘动",),
    "fish": ("游动",),
    "bird": ("飞翔",),
    "butterfly": ("飞舞",),
    "cat": ("奔跑",),
    "dog": ("奔跑",),
    "horse": ("奔跑", "奔驰"),
    "dragon": ("飞翔",),
    "girl": ("奔跑",),
    "boy": ("奔跑",),
}
ANY_GAIT, ANY_LONG_GAIT = ("移",), ("移动",)
AWAY = "去"  # 漂去
MOTIONS = {
    "left": ("向左{going}", "往左{going}", "朝左边{going}", "从右向左{going}", "从右往左{going}"),
    "right": ("向右{going}", "往右{going}", "朝右边{going}", "从左向右{going}", "从左往右{going}"),
    "rise": ("上升", "缓缓升起", "慢慢向上升", "升了起来"),
    "sink": ("下降", "缓缓下沉", "慢慢向下沉", "降了下来"),
    "jump": ("跳跃", "不停地跳", "上下跳动", "一蹦一跳", "蹦蹦跳跳"),
    "spin": ("旋转", "原地旋转", "原地打转", "转个不停"),
    "circle": ("绕圈", "绕着圈移动", "兜圈子", "绕圈子"),
    "sway": ("摇摆", "左右摇摆", "轻轻摇晃", "摇来摇去"),
    "still": ("静止不动", "一动不动", "停着不动", "原地不动"),
}
WAYS = {"left": "向左{gait}过{place}", "right": "向右{gait}过{place}"}
FLIERS = ("balloon", "kite", "bird", "butterfly", "dragon")
WALKERS = ("cat", "dog", "horse", "girl", "boy", *TROUPE)
FURTHER: tuple[tuple[tuple[str, ...], dict[str, tuple[str, ...]]], ...] = (  # motions that only some have
    ((*FLIERS, "fish"), {"rise": ("向上{gait}", "往上{gait}"), "sink": ("向下{gait}", "往下{gait}")}),
    (FLIERS, {"circle": ("绕着圈{gait}", "盘旋")}),
    (WALKERS, {"circle": ("绕着圈{gait}",), "still": ("站着不动",)}),
)
NOW, IN, OF = "正", "在", "的"

PLACES = {
    "sea": ("大海", "海洋"),
    "meadow": ("草地", "草原"),
    "forest": ("森林", "树林"),
    "desert": ("沙漠", "大漠"),
    "snowfield": ("雪地", "雪原"),
    "mountains": ("群山", "高山"),
    "night_city": ("城市", "灯火通明的城市"),
    "room": ("儿童房", "铺着地毯的儿童房", "孩子的房间"),
    "stage": ("舞台", "空舞台", "空荡荡的舞台"),
}
STYLES: dict[str, tuple[str, ...]] = {
    "paper": ("彩纸", "剪纸", "剪纸风格"),
    "black_and_white": ("黑白", "黑白画面"),
    "shadow": ("皮影", "皮影戏", "剪影"),
    "ink": ("水墨", "水墨画", "水墨风格"),
    "cartoon": ("卡通", "卡通风格", "卡通画"),
    "woodcut": ("木刻", "木刻版画"),
    "embroidery": ("刺绣", "刺绣风格"),
}

ADVERBS: dict[str, dict[str, tuple[str, ...]]] = {  # after 在, or in front of a comma
    "light": {
        "day": ("白天",),
        "dusk": ("黄昏", "黄昏时分", "傍晚", "夕阳下"),
        "night": ("夜里", "夜晚", "晚上", "夜色中"),
    },
    "weather": {
        "clear": ("晴朗的天气里", "好天气里"),
        "rain": ("雨中", "雨里"),
        "snow": ("飘雪中", "漫天飞雪中"),
        "leaves": ("落叶中", "纷飞的落叶中"),
        "fog": ("雾中", "大雾中", "雾里"),
    },
    "backdrop": {
        "sea": ("海上", "大海上", "海面上"),
        "meadow": ("草地上", "草原上"),
        "forest": ("森林里", "树林里", "森林中"),
        "desert": ("沙漠里", "沙漠中", "大漠中"),
        "snowfield": ("雪地里", "雪地上", "雪原上"),
        "mountains": ("山间", "群山之间", "群山前"),
        "night_city": ("城市里", "城里", "灯火通明的城市里"),
        "room": ("儿童房里", "铺着地毯的儿童房里", "孩子的房间里"),
        "stage": ("舞台上", "空舞台上", "空荡荡的舞台上"),
    },
}
CLAUSES: dict[str, dict[str, tuple[str, ...]]] = {
    "light": {
        "day": ("现在是白天", "天色明亮"),
        "dusk": ("夕阳西下", "天色已近黄昏"),
        "night": ("天已经黑了", "夜色深沉"),
    },
    "weather": {
        "clear": ("天气晴朗", "天气很好"),
        "rain": ("下着雨", "天下着雨", "正在下雨"),
        "snow": ("下着雪", "雪花纷飞", "正在下雪"),
        "leaves": ("落叶纷飞", "树叶纷纷飘落"),
        "fog": ("雾气弥漫", "雾蒙蒙的", "起了大雾"),
    },
    "backdrop": {value: tuple("背景是" + place for place in places) for value, places in PLACES.items()},
    "camera": {
        "still": ("镜头不动", "镜头固定不动", "镜头保持静止"),
        "pan_left": ("镜头向左移动", "镜头左移", "镜头缓缓向左平移"),
        "pan_right": ("镜头向右移动", "镜头右移", "镜头缓缓向右平移"),
        "zoom_in": ("镜头推近", "镜头缓缓推近", "镜头慢慢拉近"),
        "zoom_out": ("镜头拉远", "镜头缓缓拉远", "镜头慢慢后退"),
        "tilt_up": ("镜头上摇", "镜头缓缓上摇", "镜头慢慢向上抬起"),
    },
    "style": STYLES,
}
FOLLOWS = {"pan_left": "镜头跟着向左移动", "pan_right": "镜头跟着向右移动"}
KEYWORDS: dict[str, dict[str, tuple[str, ...]]] = {
    "light": {
        "day": ("白天",),
        "dusk": ("黄昏", "傍晚", "日落"),
        "night": ("夜晚", "夜里", "晚上"),
    },
    "weather": {
        "clear": ("晴朗", "好天气"),
        "rain": ("雨", "下雨", "雨天"),
        "snow": ("飘雪", "下雪", "雪天"),
        "leaves": ("落叶",),
        "fog": ("雾", "大雾", "雾天"),
    },
    "backdrop": PLACES,
    "camera": {
        "still": ("固定镜头", "镜头静止"),
        "pan_left": ("镜头左移", "向左平移镜头"),
        "pan_right": ("镜头右移", "向右平移镜头"),
        "zoom_in": ("镜头推近", "推镜头"),
        "zoom_out": ("镜头拉远", "拉镜头"),
        "tilt_up": ("镜头上摇", "上摇镜头"),
    },
    "style": STYLES,
}
PAPER, CUTOUT = "纸", "剪纸"  # what things and people may be made of
PAIRS = ("{first}，{second}", "{first}，同时{second}", "{first}，而{second}")  # moving
BOTH = "{first}和{second}"
HERE = ("{main}在{place}", "{place}的{main}", "{place}有{main}")  # resting; the last one for a backdrop alone

LEXICON = (
    *(NOUNS, ANY_NOUN, COLOURS, TINTS, DRESS, SIZES, PREFIXES, STATURES, BUILDS, MEASURES, ANY_MEASURE),
    *(GAITS, ANY_GAIT, LONG_GAITS, ANY_LONG_GAIT, MOTIONS, WAYS, *(motions for _, motions in FURTHER)),
    *(PLACES, ADVERBS, STYLES, KEYWORDS, CLAUSES, FOLLOWS, PAPER, CUTOUT, NOW, IN, OF, AWAY, PAIRS, BOTH, HERE),
)
