/** A batch of images has a task for each: the list shows those of one run of a node as one. */

/** Tasks in the same order, where one that has its `batch` stands for all of it. */
export function batches(tasks) {
  const found = new Map();
  for (const task of tasks) {
    const { run, node } = task.place ?? {};
    const key = run ? `${run} ${node}` : task.number;
    found.set(key, [...(found.get(key) ?? []), task]);
  }
  return [...found.values()].map((batch) => (batch.length > 1 ? asOne(batch) : batch[0]));
}

/** What is open counts before what has failed, and that before what is finished. */
function asOne(batch) {
  const shown = batch.find(({ final }) => !final) ?? batch.find(({ state }) => state !== "finished") ?? batch[0];
  const { number, created, submitted } = batch.at(-1);
  const finished = Math.max(...batch.map((task) => task.finished ?? 0));
  const media = batch.find((task) => task.media)?.media;
  return { ...shown, number, created, submitted, finished, usual_seconds: null, progress: null, media, batch };
}

/** The tasks that one stands for, oldest first. */
export const tasksOf = (task) => [...(task.batch ?? [task])].reverse();
