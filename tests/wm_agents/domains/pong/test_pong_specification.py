"""What is told is counted."""

from wm_agents.domains.pong.specification import specified_knowledge


def test_nothing_is_nothing_and_everything_is_counted_by_kind():
    assert specified_knowledge("none").count == 0
    told = specified_knowledge("everything")
    assert told.count == sum(told.by_kind().values())
    assert told.summary()["specified_player_count"] == 1
    assert str(told).splitlines()[0] == f"specified, everything: {told.count} items"
