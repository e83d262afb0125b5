package stattest

// cellTests are the tests of cells.
var cellTests []*Test
