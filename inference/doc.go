// Package inference scores record batches. It reads model versions from a model
// repository on disk, routes a model's name to the version that serves it, and brings up
// instances of a runtime: one instance per worker lane.
//
// A model repository is a folder:
//
//	<root>/<name>/<version>/manifest.yaml   schemas.Manifest
//	                       /<artifact>      what the runtime executes
//	                       /<reference>     optional: what the version is compared with
//	                       /<sample>        optional: rows and what the version answered to them
//
// Names and versions in the path equal those in the manifest; every file is held to the
// digest that the manifest gives. A version is never changed in place.
//
// The runtimes are sub-packages: inference/onnx. inference imports only schemas.
package inference
