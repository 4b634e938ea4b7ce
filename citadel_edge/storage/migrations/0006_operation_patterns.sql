-- What clients ask of the graph, hour by hour: the operator's report of a week, over restarts and of all instances.
--
-- An operation is what differs in literals alone; its text holds none. `id` is a digest of hash and name, which may be
-- long. `seen` is the last hour that counted it: what nobody asked for five weeks is removed.
CREATE TABLE graph_operations (
    id    text COLLATE "C" PRIMARY KEY,
    name  text,
    hash  text NOT NULL,
    kind  text NOT NULL,
    text  text NOT NULL,
    seen  timestamptz NOT NULL
);

-- What one process (`run`, its name of this life) counted in one hour, so far: written again as it grows. At most 500
-- rows an hour and process. `over`: by how much `count` may be too high.
CREATE TABLE graph_operation_counts (
    hour          timestamptz NOT NULL,
    run           text COLLATE "C" NOT NULL,
    operation_id  text COLLATE "C" NOT NULL,
    count         bigint NOT NULL,
    over          bigint NOT NULL,
    errors        bigint NOT NULL,
    cost          double precision NOT NULL,
    highest_cost  double precision NOT NULL,
    seconds       double precision NOT NULL,
    slowest_s     double precision NOT NULL,
    PRIMARY KEY (hour, run, operation_id)
);
