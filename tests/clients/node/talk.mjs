// What every script here shares: it is told one JSON object, and tells JSON objects, one a line.

export const told = JSON.parse(process.argv[2] ?? "{}");

export function tell(what) {
  process.stdout.write(JSON.stringify(what) + "\n");
}
