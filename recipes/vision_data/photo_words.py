"""What is read out of captions of photographs: nouns, activities, places, numbers and colours."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "ACTIVITIES",
    "ANIMALS",
    "COLOUR_WORDS",
    "HUMAN_COUNTED",
    "NOUNS",
    "NUMBER_WORDS",
    "PLACES",
    "Activity",
    "Noun",
    "Place",
]

# noun | plural | Chinese + measure | English words | Chinese words | words that leave it open | places that
# rule it out
# "No" is said only where no caption has any of the words; a noun with places is denied in those only, because
# captions often leave it out.
_ROLES = (
    "person people someone adult adults crowd group couple family team player players rider riders biker "
    "bikers cyclist cyclists bicyclist bicyclists skateboarder skateboarders snowboarder snowboarders "
    "surfer surfers skier skiers climber climbers hiker hikers racer racers runner runners worker workers "
    "performer performers dancer dancers musician spectators onlookers audience pedestrians friends "
    "athlete athletes gymnast swimmer swimmers boarder kayaker kayakers individual individuals they them "
    "everyone others figure rower motorcyclist couples band fisherman diver wrestlers driver soldiers "
    "officer policeman students teenager teenagers teens teen youth youths who human humans participants "
    "competitors marchers members passengers jumper golfer skater skaters fan fans hand hands face "
    "someones body bodies"
)
_MEN = "man men guy guys male males gentleman gentlemen groom fisherman policeman businessman cowboy dude"
_WOMEN = "woman women lady ladies female females bride businesswoman"
_BOYS = "boy boys"
_GIRLS = "girl girls"
_CHILDREN = "child children kid kids toddler toddlers baby babies infant youngster youngsters"
_PARENTS = (
    "mother father dad mom grandmother grandfather son daughter brother sister brothers sisters parents"
)
_TABLE = f"""
person|people|人个|{_ROLES} {_MEN} {_WOMEN} {_BOYS} {_GIRLS} {_CHILDREN} {_PARENTS} he she his her him their|人 男 女 孩 儿童 朋友 运动员 选手 情侣 小伙 队员 球员 婴儿 宝宝 他 她 者 观众 骑手||
man|men|男人个|{_MEN}|男人 男子 男的 男士 老头 老爷爷|{_ROLES} {_PARENTS} his he him {_BOYS}|
woman|women|女人个|{_WOMEN}|女人 女子 女的 女士 妇女 美女|{_ROLES} {_PARENTS} her she {_GIRLS}|
boy|boys|男孩个|{_BOYS}|男孩|{_ROLES} {_CHILDREN} {_PARENTS} {_MEN} his he|
girl|girls|女孩个|{_GIRLS}|女孩|{_ROLES} {_CHILDREN} {_PARENTS} {_WOMEN} her she|
child|children|孩子个|{_CHILDREN} {_BOYS} {_GIRLS}|孩 儿童 小朋友 宝宝 婴儿 娃|{_ROLES} {_PARENTS} young little small|
baby|babies|婴儿个|baby babies infant infants toddler toddlers|婴儿 宝宝|child children kid kids small little young son daughter boy girl family|
crowd|crowds|人群个|crowd crowds audience spectators|人群 观众 很多人 一群人|group people lot many several onlookers busy crowded parade fans others team players men women children kids boys girls festival|
dog|dogs|狗只|dog dogs puppy puppies pup pups greyhound greyhounds poodle terrier retriever collie labrador lab dachshund hound hounds dalmatian pug beagle husky rottweiler doberman bulldog corgi chihuahua doggy|狗 犬|animal animals canine shepherd pet pets boxer wolf sled creature|
cat|cats|猫只|cat cats kitten kittens|猫|animal animals pet pets|
horse|horses|马匹|horse horses pony ponies horseback donkey bronco mule|马|animal animals jockey rodeo carriage cowboy equestrian polo stallion bucking|
bird|birds|鸟只|bird birds seagull seagulls pigeon pigeons duck ducks goose geese swan parrot eagle hawk owl heron pelican gull gulls flamingo chicken stork crane|鸟 鸥 鸭 鸽 鹅|animal animals flock feathers wings|
cow|cows|牛头|cow cows bull bulls cattle calf ox|牛|animal animals rodeo|
sheep|sheep|羊只|sheep lamb lambs goat goats|羊|animal animals herd|
car|cars|汽车辆|car cars suv sedan taxi minivan convertible automobile|汽车 轿车 小车 跑车 赛车|vehicle vehicles truck van traffic street road jeep parking city drive driving race racetrack garage bus racing|
truck|trucks|卡车辆|truck trucks pickup|卡车 货车|vehicle vehicles van car cars traffic jeep street tractor atv|
bus|buses|公交车辆|bus buses|公交 巴士 大巴|vehicle vehicles street traffic van city|
bicycle|bicycles|自行车辆|bicycle bicycles bike bikes bmx cyclist cyclists bicyclist bicyclists tricycle cycle cycling unicycle|自行车 单车|motorcycle biker bikers motorbike dirtbike rider riders motocross motorcyclist scooter street city|
motorcycle|motorcycles|摩托车辆|motorcycle motorcycles motorbike motorbikes motocross motorcyclist motorcyclists dirtbike dirtbikes moped|摩托|bike bikes biker bikers rider riders atv quad scooter street city dirt|
boat|boats|船艘|boat boats canoe kayak kayaks kayaker kayakers canoes sailboat raft rowboat ship ferry yacht rafting kayaking canoeing speedboat|船 艇 舟 筏|water vessel harbor dock rowing paddle paddles paddling lake ocean sea river rower pier|
train|trains|火车列|train trains locomotive railcar|火车 列车|railroad tracks subway station rail|
skateboard|skateboards|滑板个|skateboard skateboards skateboarder skateboarders skateboarding|滑板|board skater skaters skate skating rollerblades scooter ramp trick snowboard|
surfboard|surfboards|冲浪板块|surfboard surfboards surfer surfers surfing bodyboard|冲浪|board wave waves surf boogie wakeboard|
snowboard|snowboards|滑雪板块|snowboard snowboards snowboarder snowboarders snowboarding|单板|snow board skier skiers ski skiing slope|
skis|skis|滑雪板副|skis skier skiers skiing ski|滑雪|snow snowboarder snowboarding slope pole poles snowboard|
ball|balls|球个|ball balls football basketball baseball softball volleyball soccer|球|tennis toy game object sport sports player players rugby golf team catch catching something pitcher lacrosse hockey bowling court throw goal paddle racket fetch polo|
frisbee|frisbees|飞盘个|frisbee frisbees disc disk|飞盘 飞碟|toy object catch catching something|
stick|sticks|棍子根|stick sticks branch|棍 木棒 树枝 棒|wood pole log something object bat toy hockey lacrosse baton twig mouth|
helmet|helmets|头盔顶|helmet helmets|头盔|biker bikers cyclist bicyclist rider football motorcycle racer motocross gear motorcyclist bike bicycle hockey baseball climber uniform race dirt uniforms hat skateboarder hat hats player players ski skier horse kayak snowboarder|
hat|hats|帽子顶|hat hats cap caps beanie sombrero|帽|helmet headband hood bandana wearing winter dressed costume costumes sun uniform snow crowd coat clothing head headgear|pool
sunglasses|sunglasses|墨镜副|sunglasses shades|墨镜 太阳镜|glasses goggles eyewear wearing sun face|pool dogs
backpack|backpacks|背包个|backpack backpacks knapsack rucksack|背包 背着|hiker hikers hiking bag bags pack climber gear carrying|pool dogs
umbrella|umbrellas|雨伞把|umbrella umbrellas parasol|伞|rain rainy beach|
guitar|guitars|吉他把|guitar guitars guitarist|吉他|instrument instruments band music musician musicians|
camera|cameras|相机台|camera cameras|相机 照相 拍照 摄|photo photographer picture pictures photograph photos posing pose poses photographs filming taking video|
book|books|书本|book books|书|reading magazine read library newspaper paper|
phone|phones|手机部|phone phones cellphone telephone|手机 电话|talking cell|
bench|benches|长椅张|bench benches|长椅 椅 凳|sitting seated seat park sits|dogs pool beach ocean
chair|chairs|椅子把|chair chairs armchair|椅|sitting seated seat seats sits couch table room stool restaurant lounge lawn bench|dogs ocean
table|tables|桌子张|table tables|桌|desk restaurant eating dinner kitchen room meal bar picnic food|dogs ocean pool
bed|beds|床张|bed beds bunk|床|mattress sleeping bedroom pillow room|
couch|couches|沙发张|couch couches sofa loveseat|沙发|chair room sitting seated furniture seat recliner|
swing|swings|秋千个|swing swings|秋千|swinging playground rope tire|
slide|slides|滑梯个|slide|滑梯|sliding playground slides|
rope|ropes|绳子根|rope ropes leash|绳|climbing climber harness swing tug climbs tied cord|pool beach
flag|flags|旗子面|flag flags|旗|banner parade pole|dogs pool
tent|tents|帐篷顶|tent tents|帐篷|camping camp campsite canopy fair market|
fountain|fountains|喷泉座|fountain fountains|喷泉|spray water sprinkler splash splashing|
bridge|bridges|桥座|bridge bridges|桥|walkway overpass|
fence|fences|栅栏道|fence fences fenced|栅栏 围栏 篱笆|railing gate barrier yard hurdle|ocean snow beach
tree|trees|树棵|tree trees forest woods wooded|树|branch park leaves trail wood path garden yard jungle outdoors nature log hill|indoors pool ocean beach street
flower|flowers|花朵|flower flowers bouquet rose roses|花|garden plant plants field lei|dogs snow ocean street pool
grass|grass|草|grass grassy lawn field meadow|草|park yard outdoors outside hill football soccer baseball golf plants weeds ground farm backyard garden|snow ocean pool indoors beach street
snow|snow|雪|snow snowy skiing skier skiers snowboarder snowboarding snowboard ski snowbank snowball|雪|winter ice icy cold sled slope mountain mountains snowmobile sledding skis white|
water|water|水|water ocean sea lake river pool pond stream creek waves wave swimming swims swim swimmer surf surfing surfer surfboard wading underwater splash splashes splashing waterfall puddle fountain|水 海 河 湖 游泳 冲浪 浪 池 溪|beach boat shore canoe kayak wet rain dock pier diving dive hose sprinkler raft harbor coast bath bathing drink drinking ice rafting fishing sand row wakeboard boats sailboat tub surfboarder|
sand|sand|沙子|sand sandy beach dune dunes desert|沙|shore ocean dirt dusty coast sea waves volleyball playground shoreline|snow indoors pool grass
street|streets|街道条|street streets road roads sidewalk crosswalk intersection|街 路|city path car cars traffic urban downtown pavement concrete parking parade bike highway driveway outside bus building buildings skateboard skateboarder|snow ocean pool grass beach
building|buildings|建筑座|building buildings skyscraper|楼 建筑|house store city street wall restaurant church shop town urban brick window structure tower|ocean pool
house|houses|房子座|house houses home cabin|房|building yard porch room door backyard window driveway garage kitchen|ocean pool
mountain|mountains|山座|mountain mountains mountaintop mountainside cliff cliffs|山 崖|hill rock hiking climbing climber ski skiing rocks slope hiker valley rocky hills snowboarder snow skier peak|pool street
rock|rocks|石头块|rock rocks rocky boulder boulders cliff cliffs stone stones|石 岩|mountain mountains climbing climber hill river waterfall shore gravel wall canyon climbs|pool indoors
beach|beaches|海滩片|beach beaches shore shoreline seashore|沙滩 海滩 海边|sand sandy ocean sea waves wave coast water surfer surfing desert surfboard surf lake|
ocean|oceans|大海片|ocean sea wave waves surf surfing surfer|海 浪|beach water shore boat coast lake sailboat surfboard sand|
pool|pools|游泳池个|pool pools|游泳池 泳池 水池|water swimming swim swimmer swims diving dive splash bathing tub trunks|
playground|playgrounds|游乐场个|playground|游乐场|park slide swing swings playing monkey bars equipment climbing sliding|
ramp|ramps|坡道个|ramp ramps halfpipe|坡|skateboard skateboarder skateboarding trick bmx bike skate park jump snowboarder|dogs ocean
food|food|食物|food meal dinner lunch cake pizza sandwich snack snacks|吃 食物 蛋糕|eating eats eat restaurant table drink kitchen picnic cooking plate cream vendor market bbq grill|
"""  # noqa: E501


@dataclass(frozen=True, slots=True)
class Noun:
    """A thing that captions name.

    Args:
        en: English noun, singular.
        plural: English plural; the same for what is not counted.
        zh: Chinese noun.
        measure: Chinese measure word; empty for what is not counted.
        words: English words that mean it.
        words_zh: Chinese strings that mean it.
        open_words: English words that leave open whether it is there.
        ruled_out_in: places (see `PLACES`) in which it may be denied; everywhere when empty.
    """

    en: str
    plural: str
    zh: str
    measure: str
    words: frozenset[str]
    words_zh: tuple[str, ...]
    open_words: frozenset[str]
    ruled_out_in: frozenset[str]

    @property
    def is_counted(self) -> bool:
        """Whether it takes "a" in English."""
        return bool(self.measure)

    @property
    def article(self) -> str:
        """The noun as a question names it: "a dog", "snow", "sunglasses"."""
        if not self.is_counted or self.en == self.plural:
            return self.en
        return f"{'an' if self.en[0] in 'aeiou' else 'a'} {self.en}"


def _nouns() -> dict[str, Noun]:
    nouns = {}
    for line in _TABLE.strip().splitlines():
        en, plural, chinese, words, words_zh, open_words, places = line.split("|")
        is_mass = en in ("grass", "snow", "water", "sand", "food")
        zh, measure = (chinese, "") if is_mass else (chinese[:-1], chinese[-1])
        nouns[en] = Noun(
            en,
            plural,
            zh,
            measure,
            frozenset(words.split()),
            tuple(words_zh.split()),
            frozenset(open_words.split()),
            frozenset(places.split()),
        )
    return nouns


NOUNS = _nouns()
ANIMALS = ("dog", "cat", "horse", "bird", "cow", "sheep")
HUMAN_COUNTED = {  # noun -> words for one, words for several
    "man": ("man guy gentleman", "men guys gentlemen"),
    "woman": ("woman lady", "women ladies"),
    "boy": ("boy", "boys"),
    "girl": ("girl", "girls"),
    "child": ("child kid toddler baby infant", "children kids toddlers babies"),
    "person": (
        "person someone adult player rider biker cyclist bicyclist skateboarder snowboarder surfer skier "
        "climber hiker racer runner dancer swimmer teenager motorcyclist kayaker",
        "people adults players riders bikers cyclists skateboarders snowboarders surfers skiers climbers "
        "hikers racers runners dancers swimmers teenagers kayakers friends",
    ),
}
NUMBER_WORDS = {
    "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "2": 2, "3": 3, "4": 4, "5": 5,
    "both": 2,
}  # fmt: skip
COLOUR_WORDS = {
    "red": "red", "orange": "orange", "yellow": "yellow", "green": "green", "blue": "blue",
    "purple": "purple", "pink": "pink", "brown": "brown", "black": "black", "white": "white", "gray": "gray",
    "grey": "gray",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Activity:
    """What somebody does: `en` "running", `zh` "跑", and the words that mean it."""

    en: str
    zh: str
    words: frozenset[str]
    words_zh: tuple[str, ...]
    clashes: frozenset[str]


_STILL = "sitting lying sleeping standing"
_MOVING = "running jumping swimming riding climbing skateboarding surfing skiing dancing walking sliding"
_ACTIVITIES = f"""
running|奔跑|running run runs ran sprints sprinting races racing chases chasing jogging jogs|跑 追|swimming riding climbing surfing eating reading {_STILL} sliding
jumping|跳跃|jumping jump jumps leap leaps leaping jumped midair airborne hurdle hurdles|跳 腾空 跃|eating reading swimming {_STILL} walking
swimming|游泳|swimming swim swims swimmer wading paddles paddling|游泳 游|running jumping climbing {_STILL} riding reading eating walking skateboarding
sitting|坐着|sitting sits sit seated sat|坐|running jumping swimming climbing surfing skiing walking skateboarding standing dancing
standing|站着|standing stands stand stood posing|站|sitting lying sleeping swimming running riding
lying|躺着|lying lies laying lays lay lie rests resting|躺 趴|running jumping standing swimming climbing riding walking sitting skateboarding
sleeping|睡觉|sleeping sleeps asleep naps napping|睡|{_MOVING} eating reading standing
riding|骑车|riding rides ride rode cycling biking bikes biker bicycling rider cyclist bicyclist driving|骑|swimming running lying sleeping eating climbing standing
climbing|攀爬|climbing climbs climb scaling scales climber|攀 爬|swimming running {_STILL} riding eating surfing
walking|走路|walking walks walk walked strolls strolling hiking hikes|走|swimming riding climbing sleeping sitting lying jumping skateboarding
eating|吃东西|eating eats eat chewing chews bite bites biting licking|吃 咬|running swimming jumping climbing riding skateboarding surfing
reading|看书|reading reads read|看书 读|{_MOVING} eating
dancing|跳舞|dancing dances dance dancer|舞|swimming riding climbing sleeping lying sitting reading
skateboarding|玩滑板|skateboarding skateboarder skateboard skateboards skating|滑板|swimming {_STILL} eating reading climbing surfing
surfing|冲浪|surfing surfer surfs surfboard surf|冲浪|running climbing eating reading {_STILL} skateboarding riding
skiing|滑雪|skiing skis skier ski snowboarding snowboarder|滑雪|swimming eating reading {_STILL} climbing surfing
sliding|滑滑梯|sliding slides slide|滑梯|swimming eating reading running standing climbing
"""  # noqa: E501
ACTIVITIES = {
    en: Activity(en, zh, frozenset(words.split()), tuple(words_zh.split()), frozenset(clashes.split()))
    for en, zh, words, words_zh, clashes in (line.split("|") for line in _ACTIVITIES.strip().splitlines())
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a photograph was taken, with its answer in both languages."""

    name: str
    words: frozenset[str]
    words_zh: tuple[str, ...]
    en: str
    zh: str


_PLACES = """
beach|beach shore shoreline seashore|沙滩 海滩 海边|on a beach|在海滩上
snow|snow snowy|雪|in the snow|在雪地里
pool|pool|泳池 水池|at a swimming pool|在游泳池
ocean|ocean sea wave waves surfing surfer|海里 海上 海浪 冲浪|in the sea|在海上
street|street sidewalk road crosswalk city|街|on a street|在街上
grass|grass grassy lawn field meadow|草|on the grass|在草地上
mountain|mountain mountains cliff mountainside|山 崖|in the mountains|在山里
forest|forest woods wooded|树林 森林|in a forest|在树林里
playground|playground|游乐场|at a playground|在游乐场
lake|lake river pond stream creek|河 湖 溪|by a lake or river|在河边或湖边
indoors|indoors indoor room kitchen bedroom couch bed restaurant gym office bathroom classroom library|屋 室内 房间 床 沙发|indoors|在室内
"""  # noqa: E501
PLACES = {
    name: Place(name, frozenset(words.split()), tuple(words_zh.split()), en, zh)
    for name, words, words_zh, en, zh in (line.split("|") for line in _PLACES.strip().splitlines())
}
