//! What many samples come to.

use std::time::Duration;

/// What one run cost.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// From before the start until the end.
    pub wall: Duration,
    /// Time on processors.
    pub processor: Duration,
    /// The largest resident size of one process, in bytes.
    pub peak: u64,
}

/// What many runs cost.
#[derive(Debug, Clone, Copy)]
pub struct Summary {
    pub median: Duration,
    pub minimum: Duration,
    /// Below this lie 95 of 100.
    pub high: Duration,
    /// Median time on processors.
    pub processor: Duration,
    /// The median of the peaks, in bytes.
    pub peak: u64,
}

impl Summary {
    /// Sums samples up; `None` without any.
    pub fn of(samples: &[Sample]) -> Option<Self> {
        let walls = sorted(samples, |sample| sample.wall);
        Some(Self {
            median: quantile(&walls, 50)?,
            minimum: quantile(&walls, 0)?,
            high: quantile(&walls, 95)?,
            processor: quantile(&sorted(samples, |sample| sample.processor), 50)?,
            peak: quantile(&sorted(samples, |sample| sample.peak), 50)?,
        })
    }

    /// How many times as long as another one.
    pub fn ratio(&self, other: &Self) -> f64 {
        self.median.as_secs_f64() / other.median.as_secs_f64()
    }
}

fn sorted<T: Ord>(samples: &[Sample], key: impl Fn(&Sample) -> T) -> Vec<T> {
    let mut values: Vec<T> = samples.iter().map(key).collect();
    values.sort_unstable();
    values
}

/// The value below which `percent` of 100 values lie, by the nearest rank.
fn quantile<T: Copy>(sorted: &[T], percent: usize) -> Option<T> {
    let last = sorted.len().checked_sub(1)?;
    sorted.get((last * percent + 50) / 100).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one_and_the_minimum_the_least() {
        let sample = |milliseconds| Sample {
            wall: Duration::from_millis(milliseconds),
            processor: Duration::from_millis(milliseconds / 2),
            peak: milliseconds,
        };
        let samples: Vec<Sample> = [40, 10, 30, 20, 1000].map(sample).into();
        let summary = Summary::of(&samples).expect("there are samples");
        assert_eq!(summary.median, Duration::from_millis(30));
        assert_eq!(summary.minimum, Duration::from_millis(10));
        assert_eq!(summary.high, Duration::from_secs(1));
        assert_eq!(summary.processor, Duration::from_millis(15));
        assert!(Summary::of(&[]).is_none());
        let half = Summary::of(&[sample(15)]).expect("there is a sample");
        assert!((half.ratio(&summary) - 0.5).abs() < 1e-9);
    }
}
