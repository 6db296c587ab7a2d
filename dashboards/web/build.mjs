// Bundles src/ into dist/: fingerprinted names, compressed beside each file, and
// a manifest that the Go side reads. Run by `npm run build`.
import { build } from "esbuild";
import { mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const out = "dist";
await mkdir(out, { recursive: true });
for (const name of await readdir(out)) {
  if (name !== ".gitkeep") await rm(`${out}/${name}`, { recursive: true });
}
const common = { outdir: out, entryNames: "[name]-[hash]", bundle: true, format: "esm", target: "es2020", minify: true, legalComments: "eof", metafile: true, logLevel: "warning" };
// The staff's pages load parts when they need them.
const staff = await build({
  ...common,
  entryPoints: ["src/app.ts"],
  chunkNames: "[name]-[hash]",
  splitting: true,
  loader: { ".png": "file" }, // of Leaflet's style sheet
  assetNames: "[name]-[hash]",
});
// The citizens' pages load one file, and so does the worker that keeps them on
// their devices.
const citizens = await build({ ...common, entryPoints: ["src/public.ts", "src/worker.ts"] });
const outputs = { ...staff.metafile.outputs, ...citizens.metafile.outputs };
const manifest = { script: "", public: "", worker: "", style: "", files: [] };
for (const [path, info] of Object.entries(outputs).sort()) {
  const name = path.slice(out.length + 1);
  manifest.files.push(name);
  if (info.entryPoint === "src/app.ts") manifest.script = name;
  if (info.entryPoint === "src/public.ts") manifest.public = name;
  if (info.entryPoint === "src/worker.ts") manifest.worker = name;
  if (name.endsWith(".css")) manifest.style = name;
  const body = await readFile(path);
  await writeFile(`${path}.gz`, gzipSync(body, { level: 9 }));
  await writeFile(`${path}.br`, brotliCompressSync(body, { params: { [constants.BROTLI_PARAM_SIZE_HINT]: body.length } }));
}
await writeFile(`${out}/manifest.json`, `${JSON.stringify(manifest, null, 1)}\n`);
