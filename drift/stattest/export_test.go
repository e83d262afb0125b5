package stattest

// The parts that tests look at by themselves.
var (
	KolmogorovSurvival = kolmogorovSurvival
	CramerSurvival     = cramerSurvival
	BirnbaumTingey     = birnbaumTingey
	SmirnovExact       = smirnovExact
	StudentTwoSided    = studentTwoSided
)
