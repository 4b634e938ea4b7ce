-- A sum of long numbers begins with the first of them, instead of adding it to nought: most groups have but one.
CREATE OR REPLACE AGGREGATE usage_merge(numeric) (SFUNC = numeric_add, STYPE = numeric, PARALLEL = SAFE,
    COMBINEFUNC = numeric_add);
