// What the files of a case are, by the endings of their names: the same rules as service/imaging/names.py.

export const MODALITIES = ["T1", "T1Gd", "T2", "FLAIR"];
export const GROUND_TRUTH = "ground truth";
export const BRAIN_MASK = "brain mask";
export const ROLES = [...MODALITIES, GROUND_TRUTH, BRAIN_MASK];

// Names of the parts of a form, by role.
export const PART_OF_ROLE = {
  T1: "t1",
  T1Gd: "t1ce",
  T2: "t2",
  FLAIR: "flair",
  [GROUND_TRUTH]: "seg",
  [BRAIN_MASK]: "mask",
};

const ROLE_OF_SUFFIX = {
  t1: "T1",
  t1n: "T1",
  t1ce: "T1Gd",
  t1c: "T1Gd",
  t1gd: "T1Gd",
  t2: "T2",
  t2w: "T2",
  flair: "FLAIR",
  t2f: "FLAIR",
  seg: GROUND_TRUTH,
  mask: BRAIN_MASK,
};
const EXTENSION = /\.(nii|nii\.gz|nrrd|mha|mgh|mgz|hdr|img|hdr\.gz|img\.gz)$/;
const PAIR_EXTENSION = /\.(hdr|img)(\.gz)?$/;

function baseName(name) {
  return name.replaceAll("\\", "/").split("/").at(-1).toLowerCase();
}

/** Whether a file name is that of an image; the `._` files of macOS are not. */
export function isImageName(name) {
  const base = baseName(name);
  return EXTENSION.test(base) && !base.startsWith("._");
}

/** Whether a file is one of the two files of a .hdr and .img pair. */
export function isPairName(name) {
  return PAIR_EXTENSION.test(baseName(name));
}

/** The role that a file name ends in, or an empty string. */
export function roleOf(name) {
  const stem = baseName(name).replace(EXTENSION, "");
  return ROLE_OF_SUFFIX[stem.split(/[_\-. ]/).at(-1)] ?? "";
}

/** What is wrong with these roles: the modalities that are missing, and the roles that occur more than once. */
export function checkRoles(roles) {
  return {
    missing: MODALITIES.filter((modality) => !roles.includes(modality)),
    repeated: ROLES.filter((role) => roles.filter((other) => other === role).length > 1),
  };
}
