"""What the OpenAPI document says of bodies, headers and answers that FastAPI cannot see."""

from typing import Any

from fastapi import Security
from fastapi.security import APIKeyHeader, HTTPBearer

from atpn.api.answers import Payload
from atpn.api.negotiation import JSON, MSGPACK
from atpn.api.problems import MEDIA_TYPE
from atpn.api.schemas import Answer, BatchAnswer
from atpn.engine.oip_tensors import OUTPUT_SHAPES
from atpn.faces.headers import FORMATS

#: What the service answers about the README's photograph with ``points=5&include=pose``.
ANSWER_EXAMPLE: Payload = {
    "faces": [
        {
            "box": [179.83, 87.01, 273.31, 178.49],
            "confidence": 1.0,
            "landmarks": [
                [204.19, 101.06],
                [246.68, 103.53],
                [223.76, 129.19],
                [201.19, 139.07],
                [245.8, 141.27],
            ],
            "pose": {
                "yaw": 0.84,
                "pitch": -7.77,
                "roll": 3.52,
                "rotation": [
                    [0.998, -0.06145, 0.01465],
                    [0.06287, 0.98883, -0.13516],
                    [-0.00618, 0.13581, 0.99072],
                ],
            },
        }
    ],
    "image": {"width": 512, "height": 512},
    "model": {"name": "atpn", "version": "1"},
    "ms": {"decode": 2.588, "detect": 14.901, "queue": 0.119, "inference": 4.072},
}
PROBLEM_EXAMPLE: Payload = {
    "type": "about:blank",
    "title": "Invalid box",
    "status": 422,
    "detail": "boxes[0]: x1 must be at least x0 + 1 and y1 at least y0 + 1",
    "code": "invalid_box",
    "request_id": "5f0c9f9a3c1d4f0e8f1b2a3c4d5e6f70",
}

#: A ``model`` of FastAPI's would be described as application/json.
_SCHEMA = {"schema": {"$ref": "#/components/schemas/Problem"}}
_PROBLEM: dict[str, Any] = {"content": {MEDIA_TYPE: {**_SCHEMA, "example": PROBLEM_EXAMPLE}}}
#: Of routes that want a key, where keys are set: `Gate` checks it, this only says so.
KEYED: dict[str, Any] = {
    "dependencies": [
        Security(HTTPBearer(auto_error=False)),
        Security(APIKeyHeader(name="X-API-Key", auto_error=False)),
    ],
    "responses": {401: {**_PROBLEM, "description": "No valid key"}},
}
PHOTO_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "model": Answer,
        "description": "The faces; by Accept, as JSON or drawn on the picture",
        "content": {
            JSON: {"example": ANSWER_EXAMPLE},
            MSGPACK: {},
            "image/jpeg": {},
            "image/png": {},
        },
    },
    408: {**_PROBLEM, "description": "The body did not come before the deadline"},
    413: {**_PROBLEM, "description": "More bytes or pixels than the limit"},
    415: {**_PROBLEM, "description": "Content type or image format that is not read"},
    422: {**_PROBLEM, "description": "Damaged image, bad box or parameter"},
    429: {**_PROBLEM, "description": "Over the rate limit (see Retry-After)"},
    503: {**_PROBLEM, "description": "Queue full (see Retry-After) or shutting down"},
    504: {**_PROBLEM, "description": "Deadline passed"},
}
BATCH_RESPONSES = {
    **PHOTO_RESPONSES,
    200: {
        "model": BatchAnswer,
        "description": "One result per image, in order",
        "content": {
            JSON: {"example": {"results": [ANSWER_EXAMPLE, {"error": PROBLEM_EXAMPLE}]}},
            MSGPACK: {},
        },
    },
}
DEADLINE: dict[str, Any] = {
    "parameters": [
        {
            "name": "X-Request-Timeout",
            "in": "header",
            "required": False,
            "description": "Seconds until the answer is useless, a positive number; at most "
            "ATPN_REQUEST_TIMEOUT_S",
            "schema": {"type": "string", "examples": ["2.5"]},
        }
    ]
}
BATCH_BODY = {
    **DEADLINE,
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {
                        "image": {
                            "type": "array",
                            "minItems": 1,
                            "items": {"type": "string", "format": "binary"},
                        }
                    },
                }
            }
        },
    },
}
PHOTO_BODY = {
    **DEADLINE,
    "requestBody": {
        "required": True,
        "content": {
            **{
                kind: {"schema": {"type": "string", "format": "binary"}}
                for kind in (*FORMATS.values(), "application/octet-stream")
            },
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {
                        "image": {"type": "string", "format": "binary"},
                        "boxes": {
                            "type": "string",
                            "description": "JSON list of [x0, y0, x1, y1]; skips detection",
                        },
                    },
                }
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "additionalProperties": False,
                    "properties": {
                        "image": {"type": "string", "format": "byte"},
                        "boxes": {
                            "type": "array",
                            "items": {
                                "type": "array",
                                "items": {"type": "number"},
                                "minItems": 4,
                                "maxItems": 4,
                            },
                        },
                    },
                }
            },
        },
    },
}

_OIP_PROBLEM: dict[str, Any] = {"content": {MEDIA_TYPE: _SCHEMA}}
DRAINING: dict[int | str, dict[str, Any]] = {503: {"description": "Draining"}}
NO_MODEL: dict[int | str, dict[str, Any]] = {
    404: {**_OIP_PROBLEM, "description": "A model or version that is not served"},
    # FastAPI would add a 422 of its own, for parameters that cannot be wrong
    "4XX": {**_OIP_PROBLEM, "description": "Refused"},
}
INFER_RESPONSES: dict[int | str, dict[str, Any]] = {
    **NO_MODEL,
    200: {
        "description": "The outputs, as JSON or with binary tensors behind it",
        "content": {"application/json": {}, "application/octet-stream": {}},
    },
    408: {**_OIP_PROBLEM, "description": "The body did not come before the deadline"},
    413: {**_OIP_PROBLEM, "description": "More bytes than the limit"},
    422: {**_OIP_PROBLEM, "description": "Not an inference request for this model"},
    429: {**_OIP_PROBLEM, "description": "Over the rate limit (see Retry-After)"},
    503: {**_OIP_PROBLEM, "description": "Queue full (see Retry-After) or shutting down"},
    504: {**_OIP_PROBLEM, "description": "Deadline passed"},
}
INFER_BODY = {
    **DEADLINE,
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["inputs"],
                    "properties": {
                        "id": {"type": "string"},
                        "inputs": {
                            "type": "array",
                            "minItems": 1,
                            "maxItems": 1,
                            "items": {
                                "type": "object",
                                "required": ["name", "datatype", "shape", "data"],
                                "properties": {
                                    "name": {"const": "image"},
                                    "datatype": {"const": "UINT8"},
                                    "shape": {
                                        "type": "array",
                                        "items": {"type": "integer", "minimum": 1},
                                        "minItems": 4,
                                        "maxItems": 4,
                                    },
                                    "data": {
                                        "type": "array",
                                        "items": {"type": "integer", "minimum": 0, "maximum": 255},
                                    },
                                },
                            },
                        },
                        "outputs": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "required": ["name"],
                                "properties": {"name": {"enum": list(OUTPUT_SHAPES)}},
                            },
                        },
                    },
                }
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    },
}
