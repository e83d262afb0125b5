package stattest

// numericTests are the tests of values, with the thresholds of Evidently.
var numericTests = []*Test{
	{Name: "ks", Numeric: plain(KS), PValue: true, Threshold: 0.05},
	{Name: "wasserstein", Numeric: plain(Wasserstein), Threshold: 0.1},
	{Name: "wasserstein_raw", Numeric: plain(WassersteinRaw), Threshold: 0.1}, // ours; in the unit of the values
	{Name: "anderson", Numeric: checkedSamples(Anderson, tiedAnderson), PValue: true, Threshold: 0.1},
	{Name: "cramer_von_mises", Numeric: checkedSamples(CramerVonMises, tiedCramer), PValue: true, Threshold: 0.1},
	{Name: "mannw", Numeric: checkedSamples(MannWhitney, permutedRanks), PValue: true, Threshold: 0.05},
	{Name: "t_test", Numeric: checkedSamples(TTest, permutedT), PValue: true, Threshold: 0.05},
	{Name: "es", Numeric: checkedSamples(EppsSingleton, permutedCharacteristic), PValue: true, Threshold: 0.05},
	{Name: "ed", Numeric: plain(Energy), Threshold: 0.1},
	{Name: "empirical_mmd", Numeric: EmpiricalMMD, PValue: true, Threshold: 0.1},
}

// plain adapts a test without options.
func plain(test func(reference, current Sample) (Result, error)) func(Sample, Sample, Options) (Result, error) {
	return func(reference, current Sample, _ Options) (Result, error) { return test(reference, current) }
}
