"""The published figures: all rows of all tables, and how they are quoted."""

import pytest

from mmsent.evaluation.published import check_published, describe_published, papers, published_rows

# The number of rows of each table, as `published.yaml` names the tables.
ROWS = {
    "comn": {1: 15},
    "mimn": {"all models": 7, "1 to 5 hops": 5, "ablation": 4},
    "deep_fusion": {1: 8, 2: 3},
    "mvso_study": {1: 4, 2: 4, 3: 3, 4: 2, 5: 3, 6: 4, 7: 4, 8: 9, 9: 6}
    | {"section 4.2": 4, "test split": 2, "appendix 1": 7},
    "mdse": {1: 11, 2: 10, 3: 6, 4: 1, 5: 1},
}


def test_every_row_of_every_table_is_there():
    assert {
        paper: {table: len(part["rows"]) for table, part in content["tables"].items()}
        for paper, content in papers().items()
    } == ROWS
    assert len(published_rows()) == 123


def test_figures_are_percentages_with_the_decimals_of_the_paper():
    for row in published_rows().values():
        assert row.figures
        decimals = papers()[row.key.partition("/")[0]]["decimals"]
        for figure in (figure for figures in row.figures.values() for figure in figures.values()):
            assert 30 < float(figure) < 100
            assert len(figure.partition(".")[2]) == decimals


def test_a_row_is_quoted_with_its_place():
    keys = ["comn/1/CoMN-Hop2", "mdse/3/none"]
    sentence = "accuracy 68.68, F1 68.06 (CoMN-Hop2; CoMN: Xu, Mao, Chen, SIGIR 2018, Table 1)"
    assert describe_published(keys, "mvsa_multiple") == [sentence]
    assert describe_published(keys, "my_posts") == []
    row = published_rows()["mimn/1 to 5 hops/4"]
    assert (row.table, row.name, row.figures) == (
        *("1 to 5 hops", "4"),
        {"multi_zol": {"accuracy": "60.78", "weighted-F1": "60.05"}},
    )
    assert row.stated["learning_rate"] == 0.005
    assert row.stated["hops"] == 4


def test_a_measurement_belongs_to_its_corpus_or_to_all():
    row = published_rows()["mdse/3/none"]  # on MVSA-Single and Twitter-2015
    assert row.measured_for("mvsa_single") == ["mvsa_single/mdse_frozen_base_minilm_efficientnet"]
    assert row.measured_for("twitter2015") == []
    assert published_rows()["mimn/all models/MIMN"].measured_for("multi_zol") == ["sample_posts/mimn"]


def test_a_row_that_does_not_exist_is_named():
    check_published(["comn/1/HSAN"])
    with pytest.raises(ValueError, match=r"published=comn/2/HSAN: the papers have no such row; published\.yaml has"):
        check_published(["comn/1/HSAN", "comn/2/HSAN"])
