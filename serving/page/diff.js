// The lines of two programs in order, each one kept, deleted or inserted.

const TOO_MANY = 4_000_000; // cells of the table below; longer programs are shown whole, as replaced

export const lines = (code) => code.replace(/\n$/, "").split("\n");

// Rows {kind: "same" | "del" | "ins", line, number}, by a longest common subsequence of the lines; `number`
// is the line's in the later program.
export function diff(before, after) {
  const width = after.length + 1;
  if ((before.length + 1) * width > TOO_MANY) {
    return [
      ...before.map((line) => ({ kind: "del", line, number: "" })),
      ...after.map((line, index) => ({ kind: "ins", line, number: index + 1 })),
    ];
  }
  const common = new Uint32Array((before.length + 1) * width);
  for (let i = before.length - 1; i >= 0; i--) {
    for (let j = after.length - 1; j >= 0; j--) {
      common[i * width + j] =
        before[i] === after[j]
          ? common[(i + 1) * width + j + 1] + 1
          : Math.max(common[(i + 1) * width + j], common[i * width + j + 1]);
    }
  }
  const rows = [];
  let i = 0;
  let j = 0;
  while (i < before.length || j < after.length) {
    if (i < before.length && j < after.length && before[i] === after[j]) {
      rows.push({ kind: "same", line: after[j], number: j + 1 });
      i++;
      j++;
    } else if (i < before.length && (j === after.length || common[(i + 1) * width + j] >= common[i * width + j + 1])) {
      rows.push({ kind: "del", line: before[i++], number: "" });
    } else {
      rows.push({ kind: "ins", line: after[j++], number: j });
    }
  }
  return rows;
}
