"use strict";
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
  return `{\n${lines.join("\n")}\n}`;
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
