// How the graph's contract is linted: all rules for schemas and for Relay, with what is said of each exception.
import plugin from "@graphql-eslint/eslint-plugin";
import { readFileSync } from "node:fs";

const file = "schema.graphql";
const valueObjects = [...readFileSync(file, "utf8").matchAll(/^type (\w+) (?!implements Node)/gm)].map(([, name]) => name);

export default [
  {
    files: [file],
    languageOptions: { parser: plugin.parser, parserOptions: { graphQLConfig: { schema: file } } },
    plugins: { "@graphql-eslint": plugin },
    rules: {
      ...plugin.configs["flat/schema-recommended"].rules,
      ...plugin.configs["flat/schema-relay"].rules,
      // What is a Node has an id; a page, a payload, a figure or an event is found again as a part of something.
      "@graphql-eslint/strict-id-in-types": ["error", { exceptions: { types: valueObjects } }],
      // Lists go forward alone: their rows follow a key, and nobody reads them from their end.
      "@graphql-eslint/relay-arguments": ["error", { includeBoth: false }],
      // Short lists of values (errors, names, limits, rows of a report) are lists, not pages.
      "@graphql-eslint/relay-edge-types": ["error", { listTypeCanWrapOnlyEdgeType: false }],
    },
  },
];
