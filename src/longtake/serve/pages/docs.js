// SPDX-License-Identifier: Apache-2.0
// Shows openapi.json: every address, what it does, what it answers.
"use strict";
(async () => {
  const told = await (await fetch("/openapi.json")).json();
  const make = (kind, text, name = "") => { const e = document.createElement(kind); e.textContent = text; e.className = name; return e; };
  document.getElementById("lead").textContent = told.info.description.split("\n\n")[0];
  for (const [path, verbs] of Object.entries(told.paths)) {
    for (const [verb, about] of Object.entries(verbs)) {
      const article = document.createElement("article"), title = document.createElement("h3");
      title.append(make("span", verb.toUpperCase(), "verb"), make("code", path));
      const answers = Object.entries(about.responses).map(([code, answer]) => `${code} ${answer.description}`).join(" · ");
      const words = about.security ? `${answers} · needs Authorization: Bearer TOKEN` : answers;
      article.append(title, make("p", about.description || about.summary), make("p", words));
      document.getElementById("paths").append(article);
    }
  }
})();
