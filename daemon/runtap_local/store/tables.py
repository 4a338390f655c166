"""The tables, and the version of their shape. Moments are microseconds, free-form JSON is text as it came."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

SCHEMA_VERSION: Final = 2

metadata = MetaData()

meta = Table("meta", metadata, Column("key", String, primary_key=True), Column("value", Text, nullable=False))

users = Table(
    "users",
    metadata,
    Column("pk", Integer, primary_key=True),
    Column("name", String, nullable=False, unique=True),
    Column("entity", String, nullable=False, unique=True),
    Column("email", String, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("pk", Integer, primary_key=True),
    Column("user_pk", ForeignKey("users.pk"), nullable=False),
    Column("digest", String, nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
)

# Entities that belong to no single user. Users and teams share one name space.
teams = Table(
    "teams",
    metadata,
    Column("name", String, primary_key=True),
    Column("created_at", BigInteger, nullable=False),
)

# Who else than its own user may use an entity.
members = Table(
    "members",
    metadata,
    Column("entity", String, primary_key=True),
    Column("user_pk", ForeignKey("users.pk"), primary_key=True),
    Column("admin", Boolean, nullable=False, default=False),
    Column("created_at", BigInteger, nullable=False),
    Index("members_by_user", "user_pk"),
)

projects = Table(
    "projects",
    metadata,
    Column("pk", Integer, primary_key=True),
    Column("entity", String, nullable=False),
    Column("name", String, nullable=False),
    Column("user_pk", ForeignKey("users.pk"), nullable=False),
    Column("description", Text),
    Column("access", String),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    # How many runs were ever made in it: the number in invented names, which no delete may repeat.
    Column("runs_made", Integer, nullable=False, default=0),
    UniqueConstraint("entity", "name"),
)

runs = Table(
    "runs",
    metadata,
    Column("pk", Integer, primary_key=True),
    Column("project_pk", ForeignKey("projects.pk"), nullable=False),
    Column("user_pk", ForeignKey("users.pk"), nullable=False),
    Column("name", String, nullable=False),
    Column("display_name", String, nullable=False),
    Column("state", String, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("heartbeat_at", BigInteger, nullable=False),
    Column("group_name", String),
    Column("job_type", String),
    Column("program", String),
    Column("repo", String),
    Column("commit", String),
    Column("host", String),
    Column("description", Text),
    Column("notes", Text),
    Column("sweep_name", String),
    Column("tags", Text, nullable=False, default="[]"),
    Column("debug", Boolean, nullable=False, default=False),
    Column("exit_code", Integer),
    Column("stop_requested", Boolean, nullable=False, default=False),
    Column("history_line_count", Integer, nullable=False, default=0),
    Column("events_line_count", Integer, nullable=False, default=0),
    Column("log_line_count", Integer, nullable=False, default=0),
    Column("last_step", BigInteger),
    Column("config", Text),
    Column("summary_metrics", Text),
    Column("system_metrics", Text),
    Column("history_keys", Text),
    UniqueConstraint("project_pk", "name"),
    Index("runs_by_creation", "project_pk", "created_at"),
    Index("runs_by_state", "state", "heartbeat_at"),
    Index("runs_by_sweep", "project_pk", "sweep_name"),
)

# The lines of streams, many consecutive ones in a row: what is in it, store/chunks.py knows.
chunks = Table(
    "chunks",
    metadata,
    Column("pk", Integer, primary_key=True),
    Column("run_pk", ForeignKey("runs.pk"), nullable=False),
    Column("stream", Integer, nullable=False),
    Column("first_line", Integer, nullable=False),
    Column("last_line", Integer, nullable=False),
    Column("min_step", BigInteger, nullable=False),
    Column("max_step", BigInteger, nullable=False),
    Column("steps", LargeBinary, nullable=False),
    Column("texts", LargeBinary, nullable=False),
    UniqueConstraint("run_pk", "stream", "last_line"),
    Index("chunks_by_step", "run_pk", "stream", "max_step", "min_step"),
    sqlite_autoincrement=True,  # a number is never used again: exports know by the highest what they were made of
)

# The Parquet parts of histories, for servers that offer them.
exports = Table(
    "exports",
    metadata,
    Column("run_pk", ForeignKey("runs.pk"), primary_key=True),
    Column("part", Integer, primary_key=True),
    Column("blob", String, nullable=False),
    Column("revision", BigInteger, nullable=False),
)

files = Table(
    "files",
    metadata,
    Column("pk", Integer, primary_key=True),
    Column("run_pk", ForeignKey("runs.pk"), nullable=False),
    Column("name", String, nullable=False),
    Column("blob", String, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("md5", String, nullable=False),
    Column("mimetype", String),
    Column("updated_at", BigInteger, nullable=False),
    UniqueConstraint("run_pk", "name"),
)

# ``config`` is YAML as it came; ``seed`` and the number of a point decide what the point is.
sweeps = Table(
    "sweeps",
    metadata,
    Column("pk", Integer, primary_key=True),
    Column("project_pk", ForeignKey("projects.pk"), nullable=False),
    Column("user_pk", ForeignKey("users.pk"), nullable=False),
    Column("name", String, nullable=False),
    Column("display_name", String),
    Column("description", Text),
    Column("state", String, nullable=False),
    Column("config", Text, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("next_number", BigInteger, nullable=False, default=0),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("heartbeat_at", BigInteger),
    UniqueConstraint("project_pk", "name"),
)

# ``has`` are the runs that the agent named in its last report.
agents = Table(
    "agents",
    metadata,
    Column("pk", Integer, primary_key=True),
    Column("sweep_pk", ForeignKey("sweeps.pk"), nullable=False),
    Column("user_pk", ForeignKey("users.pk"), nullable=False),
    Column("name", String, nullable=False),
    Column("host", String, nullable=False),
    Column("has", Text, nullable=False, default="[]"),
    Column("told_to_exit", Boolean, nullable=False, default=False),
    Column("created_at", BigInteger, nullable=False),
    Column("heartbeat_at", BigInteger, nullable=False),
    UniqueConstraint("sweep_pk", "name"),
)

# A row per attempt at a point; only the latest attempt at each is the one that counts.
trials = Table(
    "trials",
    metadata,
    Column("pk", Integer, primary_key=True),
    Column("sweep_pk", ForeignKey("sweeps.pk"), nullable=False),
    Column("agent_pk", ForeignKey("agents.pk"), nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("run_name", String, nullable=False),
    Column("attempts", Integer, nullable=False, default=1),
    Column("counts", Boolean, nullable=False, default=True),
    Column("appeared", Boolean, nullable=False, default=False),
    Column("acknowledged", Boolean, nullable=False, default=False),
    Column("given_at", BigInteger, nullable=False),
    UniqueConstraint("sweep_pk", "run_name"),
    Index("trials_by_agent", "agent_pk"),
)
