// One canvas with an image and a label map over it, drawn by NiiVue.

import { NIFTI1 } from "nifti-reader-js";
import { NVImage, Niivue, SHOW_RENDER, SLICE_TYPE } from "@niivue/niivue";
import { boxOf, crop, unite } from "./crop.js";
import { element } from "./element.js";
import { colourTable } from "./labels.js";
import { readNifti } from "./nifti.js";

const PLANES = {
  axial: SLICE_TYPE.AXIAL,
  coronal: SLICE_TYPE.CORONAL,
  sagittal: SLICE_TYPE.SAGITTAL,
  all: SLICE_TYPE.MULTIPLANAR,
  "3d": SLICE_TYPE.RENDER,
};
const CROSSHAIR_MM = 0.4;
const STEPS = {
  ArrowLeft: [-1, 0, 0],
  ArrowRight: [1, 0, 0],
  ArrowUp: [0, 1, 0],
  ArrowDown: [0, -1, 0],
  PageUp: [0, 0, 1],
  PageDown: [0, 0, -1],
};
const OPTIONS = {
  dragAndDropEnabled: false,
  logLevel: "error",
  loadingText: "",
  backColor: [0, 0, 0, 1], // black in the light theme as well, like a light box: images are read on black
  crosshairColor: [0.3, 0.8, 1, 0.6],
  crosshairWidthUnit: "mm",
  crosshairGap: 8, // mm: what it points at stays visible
  multiplanarShowRender: SHOW_RENDER.ALWAYS,
  isRadiologicalConvention: true,
  isColorbar: false,
  isOrientCube: true, // which side is which in 3D
  viewModeHotKey: "",
  clipPlaneHotKey: "",
  cycleClipPlaneHotKey: "",
};

/** An image {voxels, shape, affine} for NiiVue. */
function imageOf({ voxels, shape, affine }, opacity) {
  const spacing = [0, 1, 2].map((axis) => Math.hypot(...affine.slice(0, 3).map((row) => row[axis])));
  const datatype = voxels instanceof Uint8Array ? NIFTI1.TYPE_UINT8 : NIFTI1.TYPE_FLOAT32;
  const file = NVImage.createNiftiArray(shape, spacing, affine.flat(), datatype, voxels);
  return NVImage.loadFromUrl({ url: file.buffer, name: "image.nii", colormap: "gray", opacity });
}

export class Viewer {
  #host;
  #name;
  #onMove;
  #nv = null;
  #labelMap = null; // {voxels, shape, affine}
  #labels = null; // the same for NiiVue
  #box = null; // of what is shown; it only grows, so that all modalities are shown alike
  #look = { shown: new Set(), opacity: 0.5, plane: "axial", crosshairMm: CROSSHAIR_MM };
  #blobs = null; // what is shown, kept for a graphics driver that loses it

  constructor(host, name, onMove) {
    this.#host = host;
    this.#name = name;
    this.#onMove = onMove;
  }

  get name() {
    return this.#name;
  }

  /** The label map {voxels, shape, affine}. */
  get labelMap() {
    return this.#labelMap;
  }

  /** Create the canvas. Throws an Error if the browser has no WebGL 2. */
  async attach() {
    const canvas = element("canvas", { tabIndex: 0, role: "application" });
    canvas.setAttribute("aria-label", `${this.#name}; arrow keys, Page up and Page down move the crosshair`);
    if (!canvas.getContext("webgl2", { alpha: true, antialias: false })) throw new Error("no WebGL 2");
    this.#host.replaceChildren(canvas);
    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    canvas.addEventListener("webglcontextrestored", () => this.#rebuild());
    this.#nv = new Niivue(OPTIONS);
    this.#nv.onLocationChange = (location) => this.#onMove([...location.mm].slice(0, 3));
    await this.#nv.attachToCanvas(canvas, false); // without multisampling, which slices do not need
    canvas.addEventListener("keydown", (event) => this.#moveByKey(event), true);
    this.#nv.setCrosshairWidth(this.#look.crosshairMm);
    this.setPlane(this.#look.plane);
  }

  /** Show an image (null: none) with a label map over it, both .nii.gz files on one grid. */
  async show(image, labelMap) {
    const isNewLabelMap = this.#blobs?.labelMap !== labelMap;
    this.#blobs = { image, labelMap };
    if (isNewLabelMap) {
      this.#labelMap = await readNifti(labelMap);
      this.#box = boxOf(this.#labelMap);
    }
    const whole = image ? await readNifti(image) : this.#labelMap;
    this.#box = unite(this.#box, boxOf(whole));
    const base = await this.#cropImage(whole, image ? 1 : 0);
    if (isNewLabelMap) this.#labels = await this.#cropImage(this.#labelMap, this.#look.opacity);
    this.#labels.setColormapLabel(colourTable(this.#look.shown));
    // NiiVue's own addVolume and removeVolume would draw once for each of the two.
    Object.assign(this.#nv, { volumes: [base, this.#labels], back: base, overlays: [this.#labels] });
    this.#nv.updateGLVolume();
  }

  /** Show the labels with these values only. */
  setShown(values) {
    this.#look.shown = new Set(values);
    if (!this.#labels) return;
    this.#labels.setColormapLabel(colourTable(this.#look.shown));
    this.#redrawLabels();
  }

  setOpacity(opacity) {
    this.#look.opacity = opacity;
    if (!this.#labels) return;
    this.#labels.opacity = opacity;
    this.#redrawLabels();
  }

  setPlane(plane) {
    this.#look.plane = plane;
    this.#nv?.setSliceType(PLANES[plane]);
  }

  setCrosshair(isShown) {
    this.#look.crosshairMm = isShown ? CROSSHAIR_MM : 0;
    this.#nv?.setCrosshairWidth(this.#look.crosshairMm);
  }

  /** Move the crosshair to a place in RAS millimetres, without telling onMove. */
  moveTo(place) {
    this.#nv.scene.crosshairPos = this.#nv.mm2frac(place);
    this.#nv.drawScene();
  }

  /** The canvas, freshly drawn: its content can be copied in the same task only. */
  drawn() {
    this.#nv.drawScene();
    return this.#host.querySelector("canvas");
  }

  /** Free the memory of the graphics card. */
  dispose() {
    const gl = this.#nv?.gl;
    this.#nv?.cleanup();
    gl?.getExtension("WEBGL_lose_context")?.loseContext();
    this.#nv = this.#labels = this.#labelMap = this.#blobs = null;
    this.#host.replaceChildren();
  }

  /** What is in the box, for NiiVue. */
  #cropImage(image, opacity) {
    return imageOf(this.#box ? crop(image, this.#box) : image, opacity);
  }

  /** NiiVue's own setOpacity and updateGLVolume would compute the image under the labels anew, which takes longer. */
  #redrawLabels() {
    this.#nv.refreshLayers(this.#labels, 1);
    this.#nv.drawScene();
  }

  #moveByKey(event) {
    const step = STEPS[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopImmediatePropagation(); // NiiVue's own keys depend on where the mouse is
    this.#nv.moveCrosshairInVox(...step);
  }

  async #rebuild() {
    const { image, labelMap } = this.#blobs;
    const place = [...this.#nv.scene.crosshairPos];
    this.#nv.cleanup();
    this.#blobs = null;
    await this.attach();
    this.#nv.scene.crosshairPos = place;
    await this.show(image, labelMap);
  }
}
