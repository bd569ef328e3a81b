// The images of a result, and the controls of what is seen of them.

import { byId, element } from "./element.js";
import { LABELS } from "./labels.js";
import { drawPicture } from "./picture.js";
import { WORLD_AXIS, arrayAxis, largestSliceCentre, toMillimetres, toVoxel } from "./slices.js";
import { Viewer } from "./viewer.js";

const SOURCES = { prediction: "Segmentation", truth: "Ground truth" };
const FIRST_CHOICE = "T1Gd";

export class Images {
  #result = null;
  #viewers = new Map(); // by source
  #place = [0, 0, 0]; // of the crosshair, in RAS millimetres
  #grid = null; // of the label map: {voxels, shape, affine}
  #showing = Promise.resolve(); // changes wait for the one before, which may still be reading an image

  constructor() {
    byId("labels").append(...LABELS.map(labelControl));
    byId("labels").addEventListener("change", () => this.#each((viewer) => viewer.setShown(shownLabels())));
    byId("opacity").addEventListener("input", () => this.#each((viewer) => viewer.setOpacity(opacity())));
    byId("crosshair").addEventListener("change", () => this.#each((viewer) => viewer.setCrosshair(hasCrosshair())));
    byId("planes").addEventListener("change", () => this.#changePlane());
    byId("modalities").addEventListener("change", () => this.#showNext());
    byId("sources").addEventListener("change", () => this.#showNext());
    byId("slice").addEventListener("input", () => this.#moveToSlice());
    byId("largest").addEventListener("click", () => this.#moveToLargest());
  }

  /** Set up the viewer of a result that is still being computed, which takes half a second. Errors occur in open. */
  prepare() {
    this.#showing = this.#showing.then(() => this.#add("prediction")).catch(() => {});
  }

  /** Show the images of a result. Throws an Error if the browser cannot. */
  async open(result) {
    this.#result = result;
    fillChoice("modalities", "modality", [...result.images.keys()], FIRST_CHOICE);
    byId("no-images").hidden = result.images.size > 0;
    byId("sources").hidden = !result.groundTruth;
    byId("sources").querySelector("input").checked = true;
    await this.#showNext();
    this.#moveToLargest();
  }

  close() {
    for (const viewer of this.#viewers.values()) viewer.dispose();
    this.#viewers.clear();
    byId("viewers").replaceChildren();
    this.#result = this.#grid = null;
  }

  /** A PNG of what is shown. */
  picture() {
    const slice = chosen("plane") === "3d" ? "" : `, ${byId("slice-text").textContent.toLowerCase()}`;
    const description = `${chosen("modality") || "Label map"}, ${chosen("plane")}${slice}`;
    return drawPicture([...this.#viewers.values()], shownLabels(), description);
  }

  #each(change) {
    for (const viewer of this.#viewers.values()) change(viewer);
  }

  #showNext() {
    const shown = this.#showing.then(() => this.#result && this.#show(this.#result));
    this.#showing = shown.catch(() => {});
    return shown;
  }

  async #show(result) {
    const image = (await result.images.get(chosen("modality"))?.read()) ?? null;
    const sources = result.groundTruth ? chosen("source").split(" ") : ["prediction"];
    for (const source of [...this.#viewers.keys()].filter((source) => !sources.includes(source))) this.#remove(source);
    for (const source of sources) {
      const viewer = this.#viewers.get(source) ?? (await this.#add(source));
      await viewer.show(image, source === "truth" ? result.groundTruth : result.labelMap);
    }
    this.#grid ??= this.#viewers.get(sources[0]).labelMap;
    this.#fitSlider();
    this.#each((viewer) => viewer.moveTo(this.#place));
    byId("viewers").dataset.drawn = `${chosen("modality")} ${sources.join(" ")}`;
  }

  async #add(source) {
    const host = element("div", { className: "canvas" });
    const caption = element("figcaption", {}, SOURCES[source]);
    const figure = element("figure", { id: `viewer-${source}` }, host, caption);
    if (source === "truth") byId("viewers").append(figure);
    else byId("viewers").prepend(figure);
    const viewer = new Viewer(host, SOURCES[source], (place) => this.#follow(viewer, place));
    viewer.setShown(shownLabels());
    viewer.setOpacity(opacity());
    viewer.setPlane(chosen("plane"));
    viewer.setCrosshair(hasCrosshair());
    this.#viewers.set(source, viewer);
    try {
      await viewer.attach();
    } catch (error) {
      this.#remove(source);
      throw error;
    }
    return viewer;
  }

  #remove(source) {
    this.#viewers.get(source)?.dispose();
    this.#viewers.delete(source);
    byId(`viewer-${source}`)?.remove();
  }

  /** The crosshair of one viewer moved: move the others. */
  #follow(moved, place) {
    this.#place = place;
    this.#each((viewer) => viewer === moved || viewer.moveTo(place));
    this.#updateSlider();
  }

  #changePlane() {
    this.#each((viewer) => viewer.setPlane(chosen("plane")));
    this.#fitSlider();
  }

  get #axis() {
    return arrayAxis(this.#grid.affine, WORLD_AXIS[chosen("plane")] ?? WORLD_AXIS.axial);
  }

  #fitSlider() {
    byId("slice").disabled = byId("largest").disabled = chosen("plane") === "3d";
    byId("slice").max = this.#grid.shape[this.#axis] - 1;
    this.#updateSlider();
  }

  #updateSlider() {
    if (!this.#grid) return;
    const { affine, shape } = this.#grid;
    const slice = Math.round(toVoxel(affine, this.#place)[this.#axis]);
    const text = `Slice ${slice + 1} of ${shape[this.#axis]}`;
    byId("slice").value = slice;
    byId("slice").setAttribute("aria-valuetext", text);
    byId("slice-text").textContent = text;
  }

  #moveToSlice() {
    const voxel = toVoxel(this.#grid.affine, this.#place);
    voxel[this.#axis] = Number(byId("slice").value);
    this.#moveTo(toMillimetres(this.#grid.affine, voxel));
  }

  #moveToLargest() {
    const { voxels, shape, affine } = this.#grid;
    const centre = largestSliceCentre(voxels, shape, this.#axis) ?? shape.map((size) => Math.floor(size / 2));
    this.#moveTo(toMillimetres(affine, centre));
  }

  #moveTo(place) {
    this.#place = place;
    this.#each((viewer) => viewer.moveTo(place));
    this.#updateSlider();
  }
}

const chosen = (name) => document.querySelector(`input[name="${name}"]:checked`)?.value ?? "";
const opacity = () => Number(byId("opacity").value);
const hasCrosshair = () => byId("crosshair").checked;
const shownLabels = () => new Set([...document.querySelectorAll("#labels input:checked")].map(({ value }) => +value));

function labelControl({ value, name, rgb }) {
  const swatch = element("span", { className: "swatch" });
  swatch.style.backgroundColor = `rgb(${rgb.join()})`;
  return element("label", {}, element("input", { type: "checkbox", checked: true, value }), swatch, name);
}

function fillChoice(id, name, values, preferred) {
  const first = values.includes(preferred) ? preferred : values[0];
  const controls = values.map((value) =>
    element("label", {}, element("input", { type: "radio", name, value, checked: value === first }), value),
  );
  byId(id).replaceChildren(byId(id).querySelector("legend"), ...controls);
  byId(id).hidden = !values.length;
}
