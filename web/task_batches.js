/** A batch of images has a task for each: the list shows those of one run of a node as one. */

/**
 * Tasks as entries of the list, in the same order: a task that stands alone, or one that stands for its `batch`.
 * @returns {{task: object, from: number, to: number}[]} with the positions of the first and the last of its tasks
 */
export function entries(tasks) {
  const found = new Map();
  for (const [position, task] of tasks.entries()) {
    const { run, node } = task.place ?? {};
    const key = run ? `${run} ${node}` : task.number;
    if (!found.has(key)) found.set(key, { batch: [], from: position });
    const entry = found.get(key);
    entry.batch.push(task);
    entry.to = position;
  }
  return [...found.values()].map(({ batch, from, to }) => ({ task: batch.length > 1 ? asOne(batch) : batch[0], from, to }));
}

/** What is open counts before what has failed, and that before what is finished. */
function asOne(batch) {
  const shown = batch.find(({ final }) => !final) ?? batch.find(({ state }) => state !== "finished") ?? batch[0];
  const { number, created, submitted } = batch.at(-1);
  const finished = Math.max(...batch.map((task) => task.finished ?? 0));
  const media = batch.find((task) => task.media)?.media;
  return { ...shown, number, created, submitted, finished, usual_seconds: null, media, batch };
}

/** The tasks that an entry stands for, oldest first. */
export const tasksOf = (task) => [...(task.batch ?? [task])].reverse();
