import inspect

import pytest
from gymnasium.envs.registration import load_env_creator

from wm_envs.__main__ import main
from wm_envs.registration import TABLE, page


def test_every_id_has_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [row.id for row in TABLE]
    assert f"{'wm/TMaze-v0':22}Recall a cue at the end of a corridor full of distractors." in lines


def test_the_table_says_of_each_id_what_its_page_says() -> None:
    assert [row.summary for row in TABLE] == [page(row).split("\n")[0] for row in TABLE]
    assert len({row.summary for row in TABLE}) == len(TABLE)


def test_a_summary_begins_as_the_docstring_does() -> None:
    for row in TABLE:
        documented = load_env_creator(row.vector_entry_point).env_class
        first = (inspect.getdoc(documented) or "").split("\n")[0]
        assert row.summary.startswith(first.rstrip("."))


@pytest.mark.parametrize("name", [row.id for row in TABLE])
def test_a_named_id_is_explained_with_its_options(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main([name])
    page = capsys.readouterr().out
    assert page.startswith(f"# {name}\n\n")
    assert "\n## Arguments\n" in page
    assert "\n| `reward_weights` | " in page


def test_an_unknown_id_says_how_to_list_them(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["TMaze"])
    assert "no environment TMaze: python -m wm_envs lists the ids" in capsys.readouterr().err
