"""What the scene renderer can name: icons with an English and a Chinese noun, and colours.

Each line of `_TABLE` is `icon name | English noun | Chinese noun + measure word | group`. Nouns of one group
are never used as a wrong answer for each other ("Is there a bird?" is not asked where there is an owl). A
noun marked `*` is common in photographs, so it is not counted or denied on a photographed background.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "COLOURS",
    "COLOUR_ZH",
    "NATURAL_COLOURS",
    "NUMBERS_EN",
    "NUMBERS_ZH",
    "SMALL_BODY",
    "IconName",
    "icon_names",
    "plural",
]

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (222, 30, 40),
    "orange": (248, 130, 20),
    "yellow": (250, 208, 25),
    "green": (45, 165, 60),
    "blue": (35, 100, 225),
    "purple": (125, 55, 190),
    "pink": (250, 130, 180),
    "brown": (125, 75, 40),
    "black": (32, 32, 36),
    "white": (242, 242, 244),
    "gray": (135, 138, 142),
}
COLOUR_ZH = {
    "red": "红色", "orange": "橙色", "yellow": "黄色", "green": "绿色", "blue": "蓝色", "purple": "紫色",
    "pink": "粉色", "brown": "棕色", "black": "黑色", "white": "白色", "gray": "灰色",
}  # fmt: skip
NUMBERS_EN = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
NUMBERS_ZH = ("零", "一", "两", "三", "四", "五", "六", "七", "八", "九", "十")

_NATURAL = {
    "red": "apple strawberry lobster shrimp rose heart book telephone toolbox bow tomato scarf car "
    "motorcycle scooter",
    "orange": "carrot tangerine pumpkin basketball fox tiger orangutan",
    "yellow": "lemon banana chick star taxi",
    "green": "crocodile snake lizard dinosaur turtle caterpillar frog tree cactus clover cucumber olive "
    "T-shirt tent puzzle_piece pine_tree bell_pepper tractor",
    "blue": "whale fish dolphin suitcase cap dress diamond bucket shield barrel snowflake anchor watch",
    "purple": "umbrella yo-yo",
    "pink": "pig flamingo squid worm flower",
    "brown": "bear bull beaver bison mammoth horse monkey turkey bat chair ladder chestnut",
    "black": "ant spider",
    "white": "polar_bear swan llama cloud ghost tooth envelope bone",
    "gray": "elephant koala wolf shark gorilla rhino seal hippo rock gear",
}
NATURAL_COLOURS = {
    noun.replace("_", " "): colour for colour, nouns in _NATURAL.items() for noun in nouns.split()
}

# Things called by the colour of their body, however much of them is glass, tyre or string.
SMALL_BODY = frozenset(
    {
        "car", "bus", "truck", "motorcycle", "scooter", "bicycle", "taxi", "pickup truck", "tractor",
        "race car", "guitar", "alarm clock", "hammer", "hourglass", "life buoy", "fire truck", "helicopter",
        "tennis racket", "robot", "mug of beer", "speedboat", "parrot", "frog", "lipstick", "can", "cupcake",
        "candle", "airplane", "rocket",
    }
)  # fmt: skip

_TABLE = """
mouse|mouse|老鼠只|rodent
ox|bull|公牛头|cattle
water buffalo|buffalo|水牛头|cattle
cow|cow|奶牛头|cattle
tiger|tiger|老虎只|cat
leopard|leopard|豹子只|cat
rabbit|rabbit|兔子只|
cat|cat*|猫只|cat
dragon|dragon|龙条|reptile
crocodile|crocodile|鳄鱼条|reptile
whale|whale|鲸鱼条|fish
snail|snail|蜗牛只|
snake|snake|蛇条|reptile
horse|horse*|马匹|horse
goat|goat|山羊只|sheep
ewe|sheep|绵羊只|sheep
monkey|monkey|猴子只|ape
rooster|rooster|公鸡只|bird
dog|dog*|狗只|dog
pig|pig|猪头|
elephant|elephant|大象头|mammoth
octopus|octopus|章鱼只|squid
spiral shell|seashell|海螺个|
bug|caterpillar|毛毛虫条|insect
ant|ant|蚂蚁只|insect
honeybee|bee|蜜蜂只|insect
lady beetle|ladybug|瓢虫只|insect
fish|fish|鱼条|fish
turtle|turtle|乌龟只|reptile
baby chick|chick|小鸡只|bird
bird|bird*|鸟只|bird
penguin|penguin|企鹅只|bird
koala|koala|考拉只|bear
camel|camel|骆驼头|
dolphin|dolphin|海豚只|fish
frog|frog|青蛙只|
hamster|hamster|仓鼠只|rodent
wolf|wolf|狼只|dog
bear|bear|熊头|bear
polar bear|polar bear|北极熊头|bear
panda|panda|熊猫只|bear
chipmunk|squirrel|松鼠只|rodent
crab|crab|螃蟹只|lobster
lion|lion|狮子头|cat
scorpion|scorpion|蝎子只|insect
turkey|turkey|火鸡只|bird
unicorn|unicorn|独角兽只|horse
eagle|eagle|老鹰只|bird
duck|duck|鸭子只|bird
bat|bat|蝙蝠只|
shark|shark|鲨鱼条|fish
owl|owl|猫头鹰只|bird
fox|fox|狐狸只|dog
butterfly|butterfly|蝴蝶只|insect
deer|deer|鹿只|
gorilla|gorilla|大猩猩只|ape
lizard|lizard|蜥蜴只|reptile
rhinoceros|rhino|犀牛头|
shrimp|shrimp|虾只|lobster
squid|squid|鱿鱼只|squid
giraffe|giraffe|长颈鹿只|
zebra|zebra|斑马匹|horse
hedgehog|hedgehog|刺猬只|
sauropod|dinosaur|恐龙只|reptile
kangaroo|kangaroo|袋鼠只|
llama|llama|羊驼只|
peacock|peacock|孔雀只|bird
hippopotamus|hippo|河马头|
parrot|parrot|鹦鹉只|bird
raccoon|raccoon|浣熊只|
lobster|lobster|龙虾只|lobster
mosquito|mosquito|蚊子只|insect
swan|swan|天鹅只|bird
mammoth|mammoth|猛犸象头|mammoth
sloth|sloth|树懒只|
otter|otter|水獭只|otter
flamingo|flamingo|火烈鸟只|bird
beaver|beaver|海狸只|otter
bison|bison|野牛头|cattle
seal|seal|海豹只|otter
orangutan|orangutan|红毛猩猩只|ape
spider|spider|蜘蛛只|insect
fly|fly|苍蝇只|insect
worm|worm|虫子条|insect
beetle|beetle|甲虫只|insect
hot dog|hot dog|热狗个|sandwich
taco|taco|墨西哥卷饼个|sandwich
chestnut|chestnut|栗子颗|
mushroom|mushroom|蘑菇个|
tomato|tomato|西红柿个|
eggplant|eggplant|茄子个|
melon|melon|甜瓜个|melon
watermelon|watermelon|西瓜块|melon
tangerine|tangerine|橘子个|
lemon|lemon|柠檬个|
banana|banana|香蕉根|
pineapple|pineapple|菠萝个|
red apple|apple|苹果个|
pear|pear|梨个|
peach|peach|桃子个|
strawberry|strawberry|草莓颗|
hamburger|hamburger|汉堡个|sandwich
pizza|pizza|披萨块|
rice ball|rice ball|饭团个|
doughnut|donut|甜甜圈个|bagel
cookie|cookie|饼干块|
lollipop|lollipop|棒棒糖根|candy
candy|candy|糖果颗|candy
shortcake|cake|蛋糕块|cake
birthday cake|birthday cake|生日蛋糕个|cake
cupcake|cupcake|纸杯蛋糕个|cake
hot pepper|chili pepper|辣椒个|pepper
bell pepper|bell pepper|灯笼椒个|pepper
croissant|croissant|羊角面包个|bread
avocado|avocado|牛油果个|
cucumber|cucumber|黄瓜根|
potato|potato|土豆个|
carrot|carrot|胡萝卜根|
baguette bread|baguette|法棍根|bread
egg|egg|鸡蛋个|
kiwi fruit|kiwi|猕猴桃个|
dumpling|dumpling|饺子个|
sandwich|sandwich|三明治个|sandwich
pretzel|pretzel|椒盐卷饼个|bread
mango|mango|芒果个|
waffle|waffle|华夫饼块|
coconut|coconut|椰子个|
onion|onion|洋葱个|
pie|pie|馅饼个|cake
olive|olive|橄榄颗|
soft ice cream|ice cream cone|冰淇淋个|
custard|pudding|布丁个|
teapot|teapot|茶壶个|
hot beverage|cup of coffee|咖啡杯|cup
wine glass|wine glass|酒杯个|cup
beer mug|mug of beer|啤酒杯|cup
baby bottle|baby bottle|奶瓶个|bottle
canned food|can|罐头个|
jar|jar|玻璃罐个|bottle
chocolate bar|chocolate bar|巧克力块|
evergreen tree|pine tree|松树棵|tree
deciduous tree|tree*|树棵|tree
palm tree|palm tree*|棕榈树棵|tree
christmas tree|Christmas tree|圣诞树棵|tree
cactus|cactus|仙人掌棵|
tulip|tulip|郁金香朵|flower
rose|rose|玫瑰朵|flower
hibiscus|flower*|花朵|flower
sunflower|sunflower|向日葵朵|flower
bouquet|bouquet|花束个|flower
maple leaf|maple leaf|枫叶片|leaf
four leaf clover|clover|四叶草片|leaf
potted plant|potted plant|盆栽个|
motorcycle|motorcycle*|摩托车辆|bike
racing car|race car|赛车辆|car
locomotive|train|火车列|train
tram car|tram|电车辆|train
bus|bus*|公交车辆|bus
ambulance|ambulance|救护车辆|car
fire engine|fire truck|消防车辆|truck
police car|police car|警车辆|car
taxi|taxi*|出租车辆|car
automobile|car*|汽车辆|car
delivery truck|truck*|卡车辆|truck
pickup truck|pickup truck|皮卡车辆|truck
tractor|tractor|拖拉机辆|
ship|ship*|轮船艘|boat
speedboat|speedboat*|快艇艘|boat
sailboat|sailboat*|帆船艘|boat
canoe|canoe*|独木舟艘|boat
bicycle|bicycle*|自行车辆|bike
motor scooter|scooter|小摩托车辆|bike
helicopter|helicopter|直升机架|plane
rocket|rocket|火箭枚|
airplane|airplane|飞机架|plane
flying saucer|flying saucer|飞碟个|plane
skateboard|skateboard|滑板个|
sled|sled|雪橇个|
auto rickshaw|rickshaw|三轮车辆|car
roller skate|roller skate|轮滑鞋只|shoe
umbrella|umbrella*|雨伞把|umbrella
backpack|backpack|背包个|bag
handbag|handbag|手提包个|bag
purse|purse|钱包个|bag
briefcase|briefcase|公文包个|bag
luggage|suitcase|行李箱个|bag
shopping cart|shopping cart|购物车辆|
top hat|top hat|礼帽顶|hat
billed cap|cap*|帽子顶|hat
crown|crown|皇冠顶|hat
t shirt|T-shirt|T恤件|shirt
dress|dress|连衣裙条|shirt
coat|coat|大衣件|shirt
scarf|scarf|围巾条|
running shoe|sneaker|运动鞋只|shoe
high heeled shoe|high-heeled shoe|高跟鞋只|shoe
hiking boot|boot|靴子只|shoe
ring|ring|戒指枚|
gem stone|diamond|钻石颗|
lipstick|lipstick|口红支|
light bulb|light bulb|灯泡个|lamp
bomb|bomb|炸弹个|
money bag|money bag|钱袋个|bag
laptop|laptop|笔记本电脑台|computer
desktop computer|computer|电脑台|computer
printer|printer|打印机台|
keyboard|keyboard|键盘个|
computer mouse|computer mouse|鼠标个|rodent
file folder|folder|文件夹个|book
clipboard|clipboard|剪贴板个|
calendar|calendar|日历本|
closed book|book*|书本|book
envelope|envelope|信封个|
package|box*|箱子个|
postbox|mailbox|邮筒个|
mobile phone|phone*|手机部|phone
telephone|telephone|电话部|phone
camera|camera|照相机台|
television|television|电视机台|computer
radio|radio|收音机台|
battery|battery|电池节|
magnifying glass tilted left|magnifying glass|放大镜个|
key|key|钥匙把|
locked|lock|锁把|
bell|bell|铃铛个|
flashlight|flashlight|手电筒个|lamp
wrench|wrench|扳手把|
hammer|hammer|锤子把|
kitchen knife|knife|菜刀把|
axe|axe|斧头把|
carpentry saw|saw|锯子把|
screwdriver|screwdriver|螺丝刀把|
microscope|microscope|显微镜台|
telescope|telescope|望远镜台|
candle|candle|蜡烛根|lamp
pen|pen|钢笔支|pencil
pencil|pencil|铅笔支|pencil
crayon|crayon|蜡笔支|pencil
paintbrush|paintbrush|画笔支|
spoon|spoon|勺子把|
door|door*|门扇|
window|window*|窗户扇|
toilet|toilet|马桶个|
bathtub|bathtub|浴缸个|
bed|bed|床张|
chair|chair*|椅子把|
ladder|ladder|梯子架|
mirror|mirror|镜子面|
bucket|bucket|水桶个|
basket|basket|篮子个|
broom|broom|扫帚把|
toothbrush|toothbrush|牙刷支|
plunger|plunger|马桶搋子个|
sponge|sponge|海绵块|
magnet|magnet|磁铁块|
teddy bear|teddy bear|泰迪熊只|bear
watch|watch|手表块|clock
alarm clock|alarm clock|闹钟个|clock
stopwatch|stopwatch|秒表块|clock
hourglass done|hourglass|沙漏个|
coin|coin|硬币枚|
wheel|wheel*|车轮个|
ring buoy|life buoy|救生圈个|
shield|shield|盾牌面|
oil drum|barrel|油桶个|
compass|compass|指南针个|clock
fire extinguisher|fire extinguisher|灭火器个|
toolbox|toolbox|工具箱个|
balloon|balloon|气球个|
wrapped gift|gift|礼物份|
ribbon|bow|蝴蝶结个|
jack o lantern|pumpkin|南瓜个|
guitar|guitar|吉他把|
violin|violin|小提琴把|
trumpet|trumpet|小号支|
saxophone|saxophone|萨克斯管支|
drum|drum|鼓面|
accordion|accordion|手风琴架|
microphone|microphone|麦克风个|
trophy|trophy|奖杯座|
soccer ball|soccer ball|足球个|ball
basketball|basketball|篮球个|ball
volleyball|volleyball|排球个|ball
baseball|baseball|棒球个|ball
tennis|tennis racket|网球拍把|
boxing glove|boxing glove|拳击手套只|
ping pong|ping-pong paddle|乒乓球拍把|
ice skate|ice skate|冰鞋只|shoe
yo yo|yo-yo|悠悠球个|
kite|kite|风筝个|
boomerang|boomerang|回旋镖个|
puzzle piece|puzzle piece|拼图块|
house|house*|房子座|house
castle|castle|城堡座|house
church|church|教堂座|house
hut|hut|茅草屋座|house
factory|factory|工厂座|house
tent|tent|帐篷顶|
ferris wheel|Ferris wheel|摩天轮座|
fountain|fountain|喷泉座|
volcano|volcano|火山座|
sun|sun|太阳个|
cloud|cloud*|云朵|
star|star|星星颗|
crescent moon|moon|月亮个|
rainbow|rainbow|彩虹道|
snowflake|snowflake|雪花片|
snowman|snowman|雪人个|
robot|robot|机器人个|
ghost|ghost|幽灵个|
red heart|heart|爱心颗|
ringed planet|planet|行星颗|
globe showing americas|globe|地球仪个|
anchor|anchor|锚个|
gear|gear|齿轮个|
vertical traffic light|traffic light*|红绿灯个|
feather|feather|羽毛根|
bone|bone|骨头根|
tooth|tooth|牙齿颗|
rock|rock*|石头块|
"""

_IRREGULAR = {
    "mouse": "mice", "wolf": "wolves", "sheep": "sheep", "fish": "fish", "deer": "deer", "squid": "squid",
    "shrimp": "shrimp", "bison": "bison", "buffalo": "buffaloes", "maple leaf": "maple leaves",
    "knife": "knives", "tomato": "tomatoes", "potato": "potatoes", "mosquito": "mosquitoes",
    "cup of coffee": "cups of coffee", "mug of beer": "mugs of beer", "tooth": "teeth",
    "computer mouse": "computer mice", "scarf": "scarves", "volcano": "volcanoes", "octopus": "octopuses",
    "snowman": "snowmen", "life buoy": "life buoys", "man": "men", "woman": "women", "child": "children",
    "person": "people", "skis": "skis", "mango": "mangoes", "toolbox": "toolboxes",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class IconName:
    """How an icon is called.

    Args:
        icon: name in the icon set.
        en: English noun, singular.
        zh: Chinese noun.
        measure: Chinese measure word.
        group: nouns of one group are never absent beside each other; the noun itself by default.
        is_common: seen in many photographs.
    """

    icon: str
    en: str
    zh: str
    measure: str
    group: str
    is_common: bool

    @property
    def en_plural(self) -> str:
        """English plural."""
        return plural(self.en)


def plural(noun: str) -> str:
    """English plural of a noun of the table: "box" gives "boxes"."""
    if noun in _IRREGULAR:
        return _IRREGULAR[noun]
    if noun.endswith(("s", "x", "z", "ch", "sh")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"


def icon_names() -> list[IconName]:
    """All nameable icons, in a fixed order."""
    names = []
    for line in _TABLE.strip().splitlines():
        icon, english, chinese, group = line.split("|")
        noun = english.rstrip("*")
        names.append(IconName(icon, noun, chinese[:-1], chinese[-1], group or noun, english.endswith("*")))
    return names
