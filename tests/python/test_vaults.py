"""Vaults and credentials, as the official client knows them."""

import anthropic
import pytest

SECRET = "value-0123456789"


@pytest.fixture
def vault(client):
    return client.beta.vaults.create(display_name="v", metadata={"k": "v"})


def variable(name="API_TOKEN"):
    return {
        "type": "environment_variable",
        "secret_name": name,
        "secret_value": SECRET,
        "networking": {"type": "limited", "allowed_hosts": ["api.example"]},
    }


def test_vault_is_retrieved_updated_listed_archived_and_deleted(client, vault):
    assert vault.id.startswith("vlt_")
    assert client.beta.vaults.retrieve(vault.id) == vault
    updated = client.beta.vaults.update(vault.id, display_name="w")
    assert (updated.display_name, updated.metadata) == ("w", {"k": "v"})
    assert vault.id in [each.id for each in client.beta.vaults.list(limit=1)]
    assert client.beta.vaults.archive(vault.id).archived_at is not None
    assert vault.id not in [each.id for each in client.beta.vaults.list()]
    assert client.beta.vaults.delete(vault.id).type == "vault_deleted"
    with pytest.raises(anthropic.NotFoundError):
        client.beta.vaults.retrieve(vault.id)


def test_credentials_of_each_type_come_back_without_their_secrets(client, vault):
    credentials = client.beta.vaults.credentials
    refresh = {
        "client_id": "c",
        "refresh_token": SECRET,
        "token_endpoint": "https://id.example/token",
        "token_endpoint_auth": {"type": "client_secret_post", "client_secret": SECRET},
    }
    auths = [
        variable(),
        {"type": "static_bearer", "mcp_server_url": "https://mcp.example/a", "token": SECRET},
        {
            "type": "mcp_oauth",
            "mcp_server_url": "https://mcp.example/b",
            "access_token": SECRET,
            "expires_at": "2099-01-01T00:00:00Z",
            "refresh": refresh,
        },
    ]
    made = [credentials.create(vault.id, auth=auth, display_name="n") for auth in auths]
    assert [each.auth.type for each in made] == [auth["type"] for auth in auths]
    assert made[0].auth.injection_location.header and made[0].auth.injection_location.body
    assert made[2].auth.refresh.token_endpoint_auth.type == "client_secret_post"
    for each in made:
        assert credentials.retrieve(each.id, vault_id=vault.id) == each
        assert SECRET not in each.to_json()
    listed = [each.id for each in credentials.list(vault.id, limit=2)]
    assert listed == [each.id for each in reversed(made)]
    changed = credentials.update(
        made[0].id,
        vault_id=vault.id,
        auth={"type": "environment_variable", "secret_value": "another-0123456"},
    )
    assert changed.updated_at > made[0].updated_at
    assert credentials.archive(made[0].id, vault_id=vault.id).archived_at is not None
    deleted = credentials.delete(made[0].id, vault_id=vault.id)
    assert deleted.type == "vault_credential_deleted"


def test_a_second_credential_for_the_same_is_a_conflict(client, vault):
    client.beta.vaults.credentials.create(vault.id, auth=variable())
    with pytest.raises(anthropic.ConflictError):
        client.beta.vaults.credentials.create(vault.id, auth=variable())


def test_an_agent_sees_a_placeholder(client, agent, environment, vault):
    client.beta.vaults.credentials.create(vault.id, auth=variable("DEPLOY_TOKEN"))
    session = client.beta.sessions.create(
        agent=agent.id, environment_id=environment.id, vault_ids=[vault.id]
    )
    assert session.vault_ids == [vault.id]
    assert client.beta.sessions.retrieve(session.id).vault_ids == [vault.id]
