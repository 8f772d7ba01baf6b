"""The page that shows an AsyncAPI document, as Swagger UI shows OpenAPI. It loads nothing from elsewhere."""

# Every address is relative: a proxy may serve all of this under a prefix.
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Portico: events</title>
<link rel="icon" href="docs/assets/favicon.png">
<link rel="stylesheet" href="docs/assets/asyncapi.css">
<main id="asyncapi">Loading…</main>
<script src="docs/assets/asyncapi.js"></script>
</html>
"""

STYLE = """body { font: 15px/1.5 system-ui, sans-serif; margin: 0; color: #222; }
main { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
section { border: 1px solid #ccd; border-radius: 6px; margin: 1rem 0; padding: .5rem 1rem; }
h3 { margin: .3rem 0; font-family: ui-monospace, monospace; }
h3 small { font: 600 .7rem system-ui; padding: .1rem .5rem; border-radius: 4px; color: #fff; margin-right: .6rem; }
.receive { background: #1a7f4b; } .send { background: #2a5db0; }
code, pre { font-family: ui-monospace, monospace; font-size: .85rem; }
pre { background: #f5f6fa; padding: .6rem; overflow: auto; border-radius: 4px; }
"""

# The document is data: it is written as text, never as markup.
SCRIPT = """"use strict";
const at = (document_, reference) =>
  reference.slice(2).split("/").reduce((node, key) => node[key], document_);

const typeOf = (schema) => {
  if (schema === true || schema === undefined) return "any";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(" | ");
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if ("const" in schema) return JSON.stringify(schema.const);
  if (schema.prefixItems) return `[${schema.prefixItems.map(typeOf).join(", ")}]`;
  if (schema.type === "array") return `${typeOf(schema.items)}[]`;
  if (schema.properties) return fieldsOf(schema);
  return schema.format ? `${schema.type} (${schema.format})` : schema.type ?? "any";
};

const fieldsOf = (schema) => {
  const required = new Set(schema.required ?? []);
  const lines = Object.entries(schema.properties).map(([name, field]) => {
    const why = field.description ? `  // ${field.description}` : "";
    return `  ${name}${required.has(name) ? "" : "?"}: ${typeOf(field)}${why}`;
  });
  return `{\\n${lines.join("\\n")}\\n}`;
};

const element = (name, text, ...children) => {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
};

const show = (spec) => {
  const main = element("main");
  main.append(element("h1", `${spec.info.title} ${spec.info.version}: events`));
  main.append(element("p", spec.info.description));
  for (const operation of Object.values(spec.operations)) {
    const message = at(spec, operation.messages[0].$ref);
    const isSent = operation.action === "send";
    const badge = element("small", isSent ? "server sends" : "client sends");
    badge.className = operation.action;
    const section = element("section", "", element("h3", "", badge, message.name));
    const namespace = at(spec, operation.channel.$ref).address;
    if (namespace !== "/") section.append(element("p", `Namespace ${namespace}`));
    if (operation.summary) section.append(element("p", operation.summary));
    if (operation["x-permission"]) {
      section.append(element("p", "Permission: ", element("code", operation["x-permission"])));
    }
    section.append(element("pre", typeOf(message.payload)));
    if (operation.reply) {
      const ack = at(spec, operation.reply.messages[0].$ref);
      section.append(element("p", "Ack"), element("pre", typeOf(ack.payload)));
    }
    main.append(section);
  }
  main.append(element("h2", "Types"));
  for (const [name, schema] of Object.entries(spec.components.schemas)) {
    const text = schema.properties ? fieldsOf(schema) : typeOf(schema);
    main.append(element("section", "", element("h3", name), element("pre", text)));
  }
  document.getElementById("asyncapi").replaceWith(main);
};

fetch("asyncapi.json")
  .then((response) => response.json())
  .then(show)
  .catch((error) => { document.getElementById("asyncapi").textContent = String(error); });
"""
