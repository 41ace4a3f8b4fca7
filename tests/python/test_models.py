"""Models: list and retrieve."""


def test_models_are_listed_with_their_facts(client):
    models = list(client.beta.models.list())
    assert models and all(model.type == "model" and model.display_name for model in models)
    assert client.beta.models.retrieve(models[0].id) == models[0]


def test_models_page_by_id(client):
    first = client.beta.models.list(limit=1)
    assert len(first.data) == 1 and first.has_more
    assert first.get_next_page().data[0].id != first.data[0].id
