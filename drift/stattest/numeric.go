package stattest

// numericTests are the tests of values.
var numericTests []*Test
