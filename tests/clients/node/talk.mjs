// What every script here shares: it is told one JSON object, and tells JSON objects, one a line.

export const told = JSON.parse(process.argv[2] ?? "{}");

export function tell(what) {
  process.stdout.write(JSON.stringify(what) + "\n");
}

// Live until our standard input ends, whatever else there is to do; then end in good order.
export function stay(leave = async () => {}) {
  process.stdin.resume().on("end", () => leave().finally(() => process.exit()));
}
