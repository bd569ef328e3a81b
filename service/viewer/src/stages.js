// The stages of a case in words.

const STAGES = {
  receive: "receiving the files",
  wait: "waiting in the queue",
  decode: "reading the images",
  prepare: "registering the series and outlining the brain",
  normalise: "normalising",
  predict_wt: "finding the whole tumour",
  predict_tc: "finding the tumour core",
  predict_et: "finding the enhancing tumour",
  resample: "resampling to the grid of the scan",
  measure: "measuring",
  encode: "encoding",
};

/** A stage in words; one that the page does not know is shown as it is. */
export const describeStage = (stage) => STAGES[stage] ?? stage;
