"""English and Chinese names of the labels of the labelled sets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

__all__ = ["LabelName", "label_key", "label_names"]


@dataclass(frozen=True, slots=True)
class LabelName:
    """How a label is called.

    Args:
        en: English name, singular, without article.
        zh: Chinese name; empty where none is known.
        is_counted: whether English puts "a" before it.
        group: names of one group are never denied beside each other.
    """

    en: str
    zh: str = ""
    is_counted: bool = True
    group: str = ""


# label | English | Chinese | group; `-` before the English name marks what takes no article
_SCENES6 = """
buildings|-buildings|建筑物|town
forest|forest|森林|forest
glacier|glacier|冰川|mountain
mountain|mountain|山|mountain
sea|-the sea|大海|sea
street|street|街道|town
"""
_GROCERY = """
Apple|apple|苹果
Asparagus|-asparagus|芦笋
Aubergine|aubergine|茄子
Avocado|avocado|牛油果
Banana|banana|香蕉
Cabbage|cabbage|卷心菜
Carrots|-carrots|胡萝卜
Cucumber|cucumber|黄瓜
Garlic|-garlic|大蒜
Ginger|-ginger|生姜
Juice|carton of juice|果汁
Kiwi|kiwi|猕猴桃
Leek|leek|韭葱
Lemon|lemon|柠檬
Lime|lime|青柠
Mango|mango|芒果
Melon|melon|甜瓜
Milk|carton of milk|牛奶
Mushroom|mushroom|蘑菇
Nectarine|nectarine|油桃
Oat-Milk|carton of oat milk|燕麦奶
Oatghurt|carton of oat yoghurt|燕麦酸奶
Onion|onion|洋葱
Orange|orange|橙子
Papaya|papaya|木瓜
Passion-Fruit|passion fruit|百香果
Peach|peach|桃子
Pear|pear|梨
Pepper|bell pepper|甜椒
Pineapple|pineapple|菠萝
Plum|plum|李子
Pomegranate|pomegranate|石榴
Potato|potato|土豆
Red-Beet|beetroot|甜菜根
Red-Grapefruit|grapefruit|西柚
Satsumas|satsuma|蜜橘
Sour-Cream|carton of sour cream|酸奶油
Sour-Milk|carton of sour milk|酸牛奶
Soy-Milk|carton of soy milk|豆奶
Soyghurt|carton of soy yoghurt|大豆酸奶
Tomato|tomato|西红柿
Yoghurt|carton of yoghurt|酸奶
Zucchini|zucchini|西葫芦
"""
_GROUPS = {
    "milk": "Milk Oat-Milk Oatghurt Sour-Cream Sour-Milk Soy-Milk Soyghurt Yoghurt Juice",
    "citrus": "Orange Satsumas Lemon Lime Red-Grapefruit",
    "stone": "Nectarine Peach Plum Apple",
    "long": "Zucchini Cucumber",
}
_TINY = """
n01443537|goldfish|金鱼|fish
n01629819|salamander|蝾螈|frog
n01641577|bullfrog|牛蛙|frog
n01644900|frog|青蛙|frog
n01698640|alligator|短吻鳄|reptile
n01742172|snake|蛇|reptile
n01768244|trilobite|三叶虫|insect
n01770393|scorpion|蝎子|insect
n01774384|black widow spider|黑寡妇蜘蛛|insect
n01774750|tarantula|狼蛛|insect
n01784675|centipede|蜈蚣|insect
n01855672|goose|鹅|bird
n01882714|koala|考拉|bear
n01910747|jellyfish|水母|sea
n01917289|brain coral|脑珊瑚|sea
n01944390|snail|蜗牛|slug
n01945685|slug|蛞蝓|slug
n01950731|sea slug|海蛞蝓|slug
n01983481|lobster|龙虾|lobster
n01984695|spiny lobster|大螯虾|lobster
n02002724|black stork|黑鹳|bird
n02056570|penguin|企鹅|bird
n02058221|albatross|信天翁|bird
n02074367|dugong|儒艮|sea
n02085620|Chihuahua|吉娃娃犬|dog
n02094433|Yorkshire terrier|约克夏犬|dog
n02099601|golden retriever|金毛犬|dog
n02099712|Labrador retriever|拉布拉多犬|dog
n02106662|German shepherd|德国牧羊犬|dog
n02113799|poodle|贵宾犬|dog
n02123045|tabby cat|虎斑猫|cat
n02123394|Persian cat|波斯猫|cat
n02124075|Egyptian cat|埃及猫|cat
n02125311|cougar|美洲狮|cat
n02129165|lion|狮子|cat
n02132136|brown bear|棕熊|bear
n02165456|ladybug|瓢虫|insect
n02190166|fly|苍蝇|insect
n02206856|bee|蜜蜂|insect
n02226429|grasshopper|蚱蜢|insect
n02231487|stick insect|竹节虫|insect
n02233338|cockroach|蟑螂|insect
n02236044|mantis|螳螂|insect
n02268443|dragonfly|蜻蜓|insect
n02279972|monarch butterfly|帝王蝶|insect
n02281406|sulphur butterfly|黄粉蝶|insect
n02321529|sea cucumber|海参|sea
n02364673|guinea pig|豚鼠|
n02395406|pig|猪|
n02403003|ox|牛|cattle
n02410509|bison|野牛|cattle
n02415577|bighorn sheep|大角羊|cattle
n02423022|gazelle|瞪羚|cattle
n02437312|camel|骆驼|
n02480495|orangutan|红毛猩猩|ape
n02481823|chimpanzee|黑猩猩|ape
n02486410|baboon|狒狒|ape
n02504458|elephant|大象|
n02509815|red panda|小熊猫|bear
n02666196|abacus|算盘|
n02669723|academic gown|学位袍|clothes
n02699494|altar|祭坛|
n02730930|apron|围裙|clothes
n02769748|backpack|背包|
n02788148|banister|栏杆|
n02791270|barbershop|理发店|shop
n02793495|barn|谷仓|house
n02795169|barrel|木桶|
n02802426|basketball|篮球|ball
n02808440|bathtub|浴缸|
n02814533|station wagon|旅行车|car
n02814860|lighthouse|灯塔|tower
n02815834|beaker|烧杯|bottle
n02823428|beer bottle|啤酒瓶|bottle
n02837789|bikini|比基尼|clothes
n02841315|-binoculars|双筒望远镜|
n02843684|birdhouse|鸟屋|
n02883205|bow tie|领结|clothes
n02892201|brass plaque|铜牌|
n02906734|broom|扫帚|
n02909870|bucket|水桶|
n02917067|bullet train|高速列车|train
n02927161|butcher shop|肉店|shop
n02948072|candle|蜡烛|
n02950826|cannon|大炮|
n02963159|cardigan|开衫|clothes
n02977058|cash machine|取款机|
n02988304|CD player|CD播放机|device
n02999410|chain|链条|
n03014705|chest|箱子|
n03026506|Christmas stocking|圣诞袜|clothes
n03042490|cliff dwelling|崖居|house
n03085013|keyboard|键盘|device
n03089624|candy store|糖果店|shop
n03100240|convertible|敞篷车|car
n03126707|crane|起重机|
n03160309|dam|水坝|bridge
n03179701|desk|书桌|table
n03201208|dining table|餐桌|table
n03250847|drumstick|鼓槌|
n03255030|dumbbell|哑铃|
n03355925|flagpole|旗杆|tower
n03388043|fountain|喷泉|
n03393912|freight car|货运车厢|train
n03400231|frying pan|平底锅|pan
n03404251|fur coat|皮草大衣|clothes
n03424325|gas mask|防毒面具|
n03444034|go-kart|卡丁车|car
n03447447|gondola|贡多拉船|boat
n03544143|hourglass|沙漏|
n03584254|iPod|音乐播放器|device
n03599486|rickshaw|人力车|
n03617480|kimono|和服|clothes
n03637318|lampshade|灯罩|
n03649909|lawn mower|割草机|
n03662601|lifeboat|救生艇|boat
n03670208|limousine|豪华轿车|car
n03706229|compass|指南针|watch
n03733131|maypole|五月柱|tower
n03763968|military uniform|军装|clothes
n03770439|miniskirt|迷你裙|clothes
n03796401|moving van|搬家货车|car
n03804744|nail|钉子|
n03814639|neck brace|颈托|
n03837869|obelisk|方尖碑|tower
n03838899|oboe|双簧管|
n03854065|organ|管风琴|
n03891332|parking meter|停车计时器|
n03902125|pay phone|投币电话|
n03930313|picket fence|尖桩栅栏|
n03937543|pill bottle|药瓶|bottle
n03970156|plunger|马桶搋子|
n03976657|pole|杆子|tower
n03977966|police van|警车|car
n03980874|poncho|斗篷|clothes
n03983396|soda bottle|汽水瓶|bottle
n03992509|potter's wheel|陶轮|
n04008634|missile|导弹|
n04023962|punching bag|沙袋|
n04067472|reel|卷轴|
n04070727|refrigerator|冰箱|
n04074963|remote control|遥控器|device
n04099969|rocking chair|摇椅|
n04118538|rugby ball|橄榄球|ball
n04133789|sandal|凉鞋|clothes
n04146614|school bus|校车|car
n04149813|scoreboard|记分牌|
n04179913|sewing machine|缝纫机|
n04251144|snorkel|呼吸管|
n04254777|sock|袜子|clothes
n04259630|sombrero|宽边帽|clothes
n04265275|space heater|取暖器|
n04275548|spider web|蜘蛛网|insect
n04285008|sports car|跑车|car
n04311004|arch bridge|拱桥|bridge
n04328186|stopwatch|秒表|watch
n04356056|-sunglasses|太阳镜|
n04366367|suspension bridge|吊桥|bridge
n04371430|-swimming trunks|泳裤|clothes
n04376876|syringe|注射器|
n04398044|teapot|茶壶|bottle
n04399382|teddy bear|泰迪熊|bear
n04417672|thatched roof|茅草屋顶|house
n04456115|torch|火炬|
n04465501|tractor|拖拉机|
n04486054|triumphal arch|凯旋门|bridge
n04487081|trolleybus|无轨电车|car
n04501370|turnstile|旋转栅门|
n04507155|umbrella|雨伞|
n04532106|vestment|法衣|clothes
n04532670|viaduct|高架桥|bridge
n04540053|volleyball|排球|ball
n04560804|water jug|水壶|bottle
n04562935|water tower|水塔|tower
n04596742|wok|炒锅|pan
n04597913|wooden spoon|木勺|
n06596364|comic book|漫画书|
n07579787|plate|盘子|food
n07583066|-guacamole|牛油果酱|food
n07614500|-ice cream|冰淇淋|food
n07615774|popsicle|冰棍|food
n07695742|pretzel|椒盐卷饼|food
n07711569|-mashed potato|土豆泥|food
n07715103|cauliflower|花椰菜|food
n07720875|bell pepper|甜椒|food
n07734744|mushroom|蘑菇|food
n07747607|orange|橙子|food
n07749582|lemon|柠檬|food
n07753592|banana|香蕉|food
n07768694|pomegranate|石榴|food
n07871810|meat loaf|肉糕|food
n07873807|pizza|披萨|food
n07875152|potpie|肉馅饼|food
n07920052|cup of espresso|浓缩咖啡|food
n09193705|mountain|高山|land
n09246464|cliff|悬崖|land
n09256479|coral reef|珊瑚礁|sea
n09332890|lakeside|湖边|land
n09428293|seashore|海岸|land
n12267677|acorn|橡子|food
"""


def _read(table: str, groups: dict[str, str] | None = None) -> dict[str, LabelName]:
    found = {}
    group_of = {label: group for group, labels in (groups or {}).items() for label in labels.split()}
    for line in table.strip().splitlines():
        label, english, chinese, *group = line.split("|")
        name = english.removeprefix("-")
        found[label] = LabelName(
            name, chinese, english == name, (group and group[0]) or group_of.get(label) or name
        )
    return found


_TABLES = {
    "scenes6": _read(_SCENES6),
    "grocery": _read(_GROCERY, _GROUPS),
    "tiny_imagenet_part": _read(_TINY),
}
_KEYS = {"scenes6": "label", "grocery": "coarse", "tiny_imagenet_part": "wnid"}


def label_key(name: str, row: dict[str, Any]) -> str:
    """The label of a row that its name is looked up by."""
    return str(row[_KEYS[name]])


def label_names(name: str, rows: Iterable[dict[str, Any]]) -> dict[str, LabelName]:
    """Names of all labels of a set, sorted by label; a label outside the table is called by its own words."""
    table = _TABLES[name]
    labels = sorted({label_key(name, row) for row in rows})
    return {label: table.get(label) or LabelName(label.replace("-", " ").lower()) for label in labels}
