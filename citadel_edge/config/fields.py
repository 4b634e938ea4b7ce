"""The kinds of fields a configuration is made of. Each names its bounds once. Pure."""

from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field

from citadel_edge.config.urls import check_host, check_http_url, check_postgres_dsn, check_redis_url

STRICT = ConfigDict(extra="forbid")

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Limit = Annotated[int, Field(ge=0)]
Port = Annotated[int, Field(ge=0, le=65535)]
Name = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\s/][^\s]*$")]
HttpUrl = Annotated[str, AfterValidator(check_http_url)]
RedisUrl = Annotated[str, AfterValidator(check_redis_url)]
PostgresDsn = Annotated[str, AfterValidator(check_postgres_dsn)]
Host = Annotated[str, AfterValidator(check_host)]
