// The labels of a label map and their colours: those of the DICOM segmentation (service/dicom/segmentation_object.py),
// from the palette of Okabe and Ito, which people with any colour vision can tell apart.

export const LABELS = [
  { key: "necrotic_core", value: 1, name: "Necrotic and non-enhancing core", rgb: [213, 94, 0] },
  { key: "oedema", value: 2, name: "Oedema", rgb: [0, 158, 115] },
  { key: "enhancing_tumour", value: 4, name: "Enhancing tumour", rgb: [240, 228, 66] },
];

export const REGION_NAMES = { WT: "Whole tumour", TC: "Tumour core", ET: "Enhancing tumour" };

/** The colour table for NiiVue with these label values shown; the other ones are transparent. */
export function colourTable(shown) {
  const channel = (index) => [0, ...LABELS.map((label) => label.rgb[index])];
  return {
    R: channel(0),
    G: channel(1),
    B: channel(2),
    A: [0, ...LABELS.map((label) => (shown.has(label.value) ? 255 : 0))],
    I: [0, ...LABELS.map((label) => label.value)],
    labels: ["", ...LABELS.map((label) => label.name)],
  };
}
