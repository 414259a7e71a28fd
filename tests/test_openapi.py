"""The OpenAPI document's examples are what the service really answers."""

from atpn.api.documentation import ANSWER_EXAMPLE, PROBLEM_EXAMPLE
from atpn.api.schemas import Answer, Problem
from atpn.api.uploads import RAW_TYPES
from tests.conftest import FakeServiceFactory, Service


def test_the_examples_fit_their_schemas() -> None:
    assert Answer.model_validate(ANSWER_EXAMPLE).model_dump(mode="json", exclude_unset=True) == {
        **ANSWER_EXAMPLE,
        "faces": ANSWER_EXAMPLE["faces"],
    }
    assert Problem.model_validate(PROBLEM_EXAMPLE).model_dump() == PROBLEM_EXAMPLE


async def test_the_example_is_the_answer_about_the_photograph(
    service: Service, astronaut_jpeg: bytes
) -> None:
    answer = (await service.post("/align?points=5&include=pose", astronaut_jpeg)).json()
    assert answer["image"] == ANSWER_EXAMPLE["image"]
    for found, shown in zip(
        answer["faces"][0]["landmarks"], ANSWER_EXAMPLE["faces"][0]["landmarks"], strict=True
    ):
        assert abs(found[0] - shown[0]) < 2
        assert abs(found[1] - shown[1]) < 2


async def test_the_problem_example_is_the_answer_to_an_inverted_box(
    fake_service: FakeServiceFactory, small_png: bytes
) -> None:
    service = await fake_service()
    answer = (await service.post_boxes("/align", small_png, "[[9, 9, 1, 1]]")).json()
    assert {**answer, "request_id": ""} == {**PROBLEM_EXAMPLE, "request_id": ""}


async def test_every_answer_of_the_photograph_endpoints_has_an_example(
    fake_service: FakeServiceFactory,
) -> None:
    document = (await (await fake_service()).client.get("/openapi.json")).json()
    for path in ("/align", "/pose", "/align/batch"):
        responses = document["paths"][path]["post"]["responses"]
        for status in ("200", "413", "422", "429", "503", "504"):
            content = responses[status]["content"]
            kind = "application/json" if status == "200" else "application/problem+json"
            assert content[kind]["example"]


async def test_the_document_says_where_a_key_is_wanted(fake_service: FakeServiceFactory) -> None:
    service = await fake_service(api_key_hashes=["0" * 64])
    document = (await service.client.get("/openapi.json")).json()
    assert set(document["components"]["securitySchemes"]) == {"HTTPBearer", "APIKeyHeader"}
    for path, methods in document["paths"].items():
        for method, described in methods.items():
            wanted = (await service.client.request(method, path)).status_code == 401
            assert ("security" in described, "401" in described["responses"]) == (wanted, wanted)


async def test_without_keys_the_document_wants_none(fake_service: FakeServiceFactory) -> None:
    document = (await (await fake_service()).client.get("/openapi.json")).json()
    assert "securitySchemes" not in document["components"]


async def test_a_deadline_may_be_asked_where_there_is_work(
    fake_service: FakeServiceFactory,
) -> None:
    document = (await (await fake_service()).client.get("/openapi.json")).json()
    asking = {
        path
        for path, methods in document["paths"].items()
        for described in methods.values()
        if "X-Request-Timeout" in [p["name"] for p in described.get("parameters", [])]
    }
    work = {path for path, methods in document["paths"].items() if "post" in methods}
    assert asking == work
    assert "/v2/models/{name}/infer" in work


async def test_errors_are_described_as_what_they_are(fake_service: FakeServiceFactory) -> None:
    document = (await (await fake_service()).client.get("/openapi.json")).json()
    problem = {"$ref": "#/components/schemas/Problem"}
    seen = 0
    for methods in document["paths"].values():
        for described in methods.values():
            for status, answer in described["responses"].items():
                if status[0] in "45" and "content" in answer:
                    content = answer["content"]
                    assert list(content) == ["application/problem+json"]
                    assert content["application/problem+json"]["schema"] == problem
                    seen += 1
    assert seen > 30
    assert "Problem" in document["components"]["schemas"]


async def test_every_type_of_body_that_is_taken_is_described(
    fake_service: FakeServiceFactory,
) -> None:
    document = (await (await fake_service()).client.get("/openapi.json")).json()
    aliases = {"image/jpg", "image/x-ms-bmp"}
    for path in ("/align", "/pose"):
        bodies = set(document["paths"][path]["post"]["requestBody"]["content"])
        assert bodies == RAW_TYPES - aliases | {"multipart/form-data", "application/json"}


async def test_only_what_the_path_names_is_a_parameter_of_the_open_inference_protocol(
    fake_service: FakeServiceFactory,
) -> None:
    document = (await (await fake_service()).client.get("/openapi.json")).json()
    for path, methods in document["paths"].items():
        for described in methods.values() if path.startswith("/v2/") else ():
            asked = {p["name"] for p in described.get("parameters", []) if p["in"] != "header"}
            assert asked == {part[1:-1] for part in path.split("/") if part.startswith("{")}
