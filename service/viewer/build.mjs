// Builds the page: a script with its dependencies, the two static files, and the licences of what the script contains.

import { copyFile, mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const OUT = "dist";
const LICENCE_FILE = /^licen[cs]e(\.md|\.txt)?$/i;

// The npm package of NiiVue contains no licence file. This is the text of its repository.
const NIIVUE_LICENCE = `BSD 2-Clause License

Copyright (c) 2021, Niivue
All rights reserved.

Redistribution and use in source and binary forms, with or without modification, are permitted provided that the
following conditions are met:

1. Redistributions of source code must retain the above copyright notice, this list of conditions and the following
   disclaimer.

2. Redistributions in binary form must reproduce the above copyright notice, this list of conditions and the following
   disclaimer in the documentation and/or other materials provided with the distribution.

THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS "AS IS" AND ANY EXPRESS OR IMPLIED WARRANTIES,
INCLUDING, BUT NOT LIMITED TO, THE IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS FOR A PARTICULAR PURPOSE ARE
DISCLAIMED. IN NO EVENT SHALL THE COPYRIGHT HOLDER OR CONTRIBUTORS BE LIABLE FOR ANY DIRECT, INDIRECT, INCIDENTAL,
SPECIAL, EXEMPLARY, OR CONSEQUENTIAL DAMAGES (INCLUDING, BUT NOT LIMITED TO, PROCUREMENT OF SUBSTITUTE GOODS OR
SERVICES; LOSS OF USE, DATA, OR PROFITS; OR BUSINESS INTERRUPTION) HOWEVER CAUSED AND ON ANY THEORY OF LIABILITY,
WHETHER IN CONTRACT, STRICT LIABILITY, OR TORT (INCLUDING NEGLIGENCE OR OTHERWISE) ARISING IN ANY WAY OUT OF THE USE OF
THIS SOFTWARE, EVEN IF ADVISED OF THE POSSIBILITY OF SUCH DAMAGE.
`;

// NiiVue computes the gradient of an image at every change, which takes longer than the rest of the drawing on a computer
// without GPU. Only the shading of its 3D view would use it, and that is off (gradientAmount 0).
const withoutGradient = {
  name: "without-gradient",
  setup(build) {
    build.onLoad({ filter: /@niivue.niivue.build.niivue.index\.js$/ }, async ({ path }) => {
      const source = await readFile(path, "utf8");
      const [before, after] = source.split("function gradientGL(params) {");
      if (!after) throw new Error("This version of NiiVue has no gradientGL: see whether withoutGradient is still needed");
      return { contents: `${before}function gradientGL(params) {\n  return params.gradientTexture;${after}` };
    });
  },
};

async function bundle() {
  const result = await build({
    entryPoints: ["src/page.js"],
    outfile: `${OUT}/page.js`,
    bundle: true,
    format: "esm",
    minify: true,
    target: "es2022",
    plugins: [withoutGradient],
    alias: { zarrita: "./src/zarr_stub.js" },
    legalComments: "none", // licences.txt has the whole texts
    metafile: true,
  });
  await writeFile(`${OUT}/page.js.gz`, gzipSync(await readFile(`${OUT}/page.js`), { level: 9 }));
  return packagesOf(Object.keys(result.metafile.inputs));
}

function packagesOf(inputs) {
  const names = inputs.map((path) => /^node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1]);
  return [...new Set(names.filter(Boolean))].sort();
}

async function licenceOf(name) {
  const folder = `node_modules/${name}`;
  const about = JSON.parse(await readFile(`${folder}/package.json`, "utf8"));
  const file = (await readdir(folder)).find((entry) => LICENCE_FILE.test(entry));
  const text = file ? await readFile(`${folder}/${file}`, "utf8") : textWithoutFile(name);
  return `${name} ${about.version} (${about.license})\n\n${text.trim()}\n`;
}

function textWithoutFile(name) {
  if (name === "@niivue/niivue") return NIIVUE_LICENCE;
  throw new Error(`${name} has no licence file: add its text to build.mjs`);
}

await rm(OUT, { recursive: true, force: true });
await mkdir(OUT);
const packages = await bundle();
const licences = await Promise.all(packages.map(licenceOf));
await writeFile(`${OUT}/licences.txt`, licences.join(`\n${"-".repeat(80)}\n\n`));
for (const name of ["index.html", "page.css"]) await copyFile(name, `${OUT}/${name}`);
