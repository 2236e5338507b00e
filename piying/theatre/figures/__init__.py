"""The cut-out shapes of every puppet."""

from piying.theatre.figures import animals, people, troupe, vehicles
from piying.theatre.figures.paper import Figure

FIGURES: dict[str, Figure] = {
    "boat": vehicles.BOAT,
    "car": vehicles.CAR,
    "train": vehicles.TRAIN,
    "balloon": vehicles.BALLOON,
    "kite": vehicles.KITE,
    "fish": animals.FISH,
    "bird": animals.BIRD,
    "butterfly": animals.BUTTERFLY,
    "cat": animals.CAT,
    "dog": animals.DOG,
    "horse": animals.HORSE,
    "dragon": animals.DRAGON,
    "girl": people.GIRL,
    "boy": people.BOY,
    "dawa": troupe.DAWA,
    "erwa": troupe.ERWA,
    "sanwa": troupe.SANWA,
    "siwa": troupe.SIWA,
    "wuwa": troupe.WUWA,
    "liuwa": troupe.LIUWA,
    "qiwa": troupe.QIWA,
    "grandpa": troupe.GRANDPA,
    "snake_lady": troupe.SNAKE_LADY,
}
