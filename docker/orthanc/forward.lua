-- Forward a study to the bridge, in the background, when no image has arrived for "StableAge" seconds.
function OnStableStudy(study)
  RestApiPost('/modalities/bridge/store', DumpJson({Resources = {study}, Asynchronous = true}))
end
