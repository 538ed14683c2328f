"""Seed words of the seven tendencies: what somebody talks about in whom that tendency is at work.

Plain English words by themes (places, feelings, deeds), so that text of any person and any time
meets some of them. Chosen from what the tendencies mean and adjusted on the training persons of the
corpus only.
"""

from wm_envs.debate.tendencies import Tendency

LEXICON: dict[Tendency, str] = {
    Tendency.SURVIVAL: """
        survive survival danger dangerous threat threatened safe safety unsafe risk peril
        escape escaped flee fled hide hid hidden hunt hunted attack attacked fight weapon
        gun knife shot shoot stab beat beaten beating blows whip whipped wound wounded blood
        bleed broke injury pain ache ill illness sick sickness disease fever plague
        infection poison doctor physician hospital medicine heart die died dying dead death
        deadly kill killed murder mercy drown drowned storm shipwreck wreck wave fire flood
        ice cold freeze froze frozen frost winter hunger hungry starve starved starving
        famine food bread meal meat scraps thirst water shelter blanket lost money rent
        wages poor poverty debt livelihood living earn job unemployed afraid fear feared
        terror dread panic alive rescue rescued save saved enemy soldiers war battle prison
        robbed thief accident crash emergency insurance savings harvest
    """,
    Tendency.STATUS: """
        status rank fame famous honour honours honor honoured praise praised admire admired
        admiration applause applaud cheer cheered crowd audience reputation name renown
        glory prize award medal title degree winner win won victory rival rivals compete
        competitor competition best better greatest superior inferior equal outdo beat envy
        envied ashamed shame humiliated humiliation mocked laughed ridicule pride proud vain
        vanity boast boasted show shown importance important respect respected recognised
        recognition noble nobleman king queen emperor pope duke court governor great
        gentleman lord wealthy rich fine suit clothes carriage watch impress impressed
        compliment flattered approval opinion public celebrated success successful promotion
        promoted boss career ambition ambitious leader followers likes popular election
        elected published newspaper speech distinction dignity looked
    """,
    Tendency.MEANING: """
        meaning purpose god lord christ christian christianity religion religious faith
        believe belief unbelief bible scripture gospel church pray prayer prayers prayed
        pilgrimage saint angel soul spirit spiritual heaven hell sin sins sinner guilt
        guilty remorse repent confess conscience duty justice unjust injustice right wrong
        moral morality virtue virtues virtuous good goodness evil truth wisdom creed
        philosophy ideal ideals vow vowed calling mission serve service mankind humanity
        cause world suffering sacrifice forgive forgiven forgiveness gratitude thanks grace
        salvation eternal eternity mortality life destiny fate happiness why answer question
        hope despair void empty legacy deeper higher sacred holy preach volunteer charity
        others future principle principles slavery reform oppressed
    """,
    Tendency.CONNECTION: """
        love loved loves loving beloved dear dearest affection affectionate tender
        tenderness fond friend friends friendship companion companions company together
        family mother father parents brother brothers sister sisters son sons daughter
        daughters child children baby boy girl wife husband uncle aunt cousin grandmother
        grandfather neighbour neighbours married marriage marry wedding engaged kiss kissed
        embrace embraced hug hugged hold held arms hand hands heart hearts wept weep cried
        cry tears grief grieve grieved mourn mourned missed miss parted parting farewell
        goodbye lonely loneliness alone belong belonging welcome kind kindness trust letter
        letters wrote visit visited called dinner shared share sharing talked talk laughed
        laughter comfort comforted reunion birthday party
    """,
    Tendency.AUTONOMY: """
        freedom free freed liberty independent independence liberate emancipation slave
        slavery master masters owner owned chain chains bound prison leash control
        controlled order orders obey obeyed disobey command commanded force forced compelled
        permission allowed refuse refused refusal rebel rebelled resist resisted defy defied
        own himself herself themselves myself alone choice choose chose chosen decide
        decided decision determined resolve resolved will insist insisted without leave left
        quit resign resigned depend dependent dependence owe owed owing debt patron
        authority rule rules right rights opinion opinions judgement mind private solitude
        self-reliant unaided built way path away run ran walked out nobody pleased against
        wishes would rather
    """,
    Tendency.COMFORT: """
        comfort comfortable comfortably rest rested resting restful sleep slept asleep nap
        bed bath bathed pillow sheets sofa chair couch warm warmth cosy soft softly easy
        ease eased relax relaxed relaxing quiet calm peace peaceful still idle lazy leisure
        holiday vacation weekend pleasant pleasure pleasures delightful delicious delight
        enjoy enjoyed enjoyment lovely sweet breakfast supper dinner coffee tea wine ale
        milk bread cake chocolate pipe tobacco garden meadow boat float shade sun sunny
        sunshine evening evenings morning fireside fire hearth cool fresh country lounge
        habit routine usual music melody content contented luxury luxurious spacious home
        furnished undisturbed nothing thought smooth gentle late
    """,
    Tendency.CURIOSITY: """
        curiosity curious wonder wondered wondering learn learned learning study studied
        student read reading book books library school lesson lessons teach taught teacher
        alphabet spell spelling letters language languages latin greek french grammar
        dictionary arithmetic geometry mathematics science scientific experiment experiments
        experimented test tested tried measure measured observe observed observation examine
        examined investigate discover discovered discovery explore explored exploring travel
        travelled voyage new strange unknown mystery puzzle puzzled find found out
        understand understood how why what whether ask asked question questions theory idea
        ideas explain explained cause collect collected collection specimen specimens plants
        animals stars telescope microscope glass electric electricity machine chemistry
        geology history notes notebook lecture lectures museum exhibits watch watched see
        saw works worked method
    """,
}


def seed_words(tendency: Tendency) -> list[str]:
    """The words of one tendency, each once."""
    return list(dict.fromkeys(LEXICON[tendency].split()))
