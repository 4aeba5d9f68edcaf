/** After a reload of the page, Xalora's nodes show again what they made last: ComfyUI's history still has it. */
import { app } from '../../scripts/app.js'

const RUNS_TO_LOOK_AT = 20

/** For each node's id, the newest answer of that node in this workflow. */
function answersIn(history, workflowId) {
  const answers = new Map()
  for (const [promptId, run] of Object.entries(history)) {
    const [, , nodes, extra] = run.prompt
    if (extra?.extra_pnginfo?.workflow?.id !== workflowId) continue
    for (const [id, output] of Object.entries(run.outputs))
      answers.set(id, { type: nodes[id]?.class_type, output, promptId })
  }
  return answers
}

async function showEarlierResults() {
  const ours = app.graph.nodes.filter(({ id, type }) => type.startsWith('Xalora') && !app.nodeOutputs[id])
  if (!ours.length) return
  const reply = await app.api.fetchApi(`/history?max_items=${RUNS_TO_LOOK_AT}`)
  const answers = answersIn(await reply.json(), app.graph.id)
  for (const { id, type } of ours) {
    const answer = answers.get(String(id))
    if (answer?.type !== type) continue
    // The message that the server sends when a node is done, so that every canvas shows it in its own way.
    const message = { node: String(id), display_node: String(id), output: answer.output, prompt_id: answer.promptId }
    app.api.dispatchCustomEvent('executed', message)
  }
}

app.registerExtension({
  name: 'Xalora.Previews',
  afterConfigureGraph: () => showEarlierResults().catch((error) => console.warn('Xalora: no earlier results', error))
})
