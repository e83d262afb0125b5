package inference

// CompareVersions is exported to the tests.
var CompareVersions = compareVersions
