"""The racing car for learners: its world model, planner, risk, imagined task and decision trace.

    observations -> network -> rollouts -> objective -> planner -> laps -> learning
    (the model's     (forces)   (paths)     (terms)      (search)   (timed)  (record, fit, collect)
    numbers, maps)

Beside them `racer` (the policy that plans disturb), `recording` (the noisy expert), `task` and `sac`
(what SAC learns in imagination), `risk` (warnings and the shield), `irl` (laps as demonstrations)
and `trace` (why a decision was made). `decisions` (the car, one differentiable step per decision),
`analytic` (a policy learned by gradients through it) and `from_scratch` (the rounds of driving,
fitting and imagining) learn to drive without an expert.
"""
