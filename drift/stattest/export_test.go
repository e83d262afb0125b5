package stattest

// The parts that tests look at by themselves.
var (
	KolmogorovSurvival = kolmogorovSurvival
	CramerSurvival     = cramerSurvival
	BirnbaumTingey     = birnbaumTingey
	SmirnovExact       = smirnovExact
	StudentTwoSided    = studentTwoSided
)

// PermutedTies is the p-value of anderson or cramer_von_mises with ties by permutation, whatever
// the number of rows.
func PermutedTies(name string, reference, current Sample, o Options) float64 {
	weight := cramerWeight
	if name == "anderson" {
		weight = andersonWeight
	}
	r := newTiedRanks(pool(reference, current), weight)
	p, _ := r.pValue(o, 1, 0)
	return p
}
