//! The clock over everything that is measured.

use criterion::{Criterion, criterion_group, criterion_main};
use tidegate_cost::subjects;

fn path(criterion: &mut Criterion) {
    for mut subject in subjects() {
        criterion.bench_function(&subject.name, |bencher| bencher.iter(|| (subject.run)()));
    }
}

criterion_group!(benches, path);
criterion_main!(benches);
