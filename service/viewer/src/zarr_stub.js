// Stands in for zarrita, which NiiVue needs for zarr images only and which brings 1.4 MB of codecs.

const refuse = () => {
  throw new Error("This build reads no zarr images.");
};

export const FetchStore = refuse;
export const root = refuse;
export const open = refuse;
export const get = refuse;
export const withConsolidated = refuse;
export const tryWithConsolidated = refuse;
