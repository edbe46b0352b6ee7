using Xunit.Sdk;
using Xunit.v3;

[assembly: TestCollectionOrderer(typeof(SensorForwarder.Tests.Support.LongestFirst))]

namespace SensorForwarder.Tests.Support;

/// <summary>Runs the test classes that start processes first: they take the longest, and none of them should run alone
/// at the end.</summary>
public sealed class LongestFirst : ITestCollectionOrderer
{
    public IReadOnlyCollection<TTestCollection> OrderTestCollections<TTestCollection>(
        IReadOnlyCollection<TTestCollection> testCollections)
        where TTestCollection : ITestCollection =>
        [.. testCollections.OrderByDescending(StartsProcesses)];

    static bool StartsProcesses<TTestCollection>(TTestCollection collection)
        where TTestCollection : ITestCollection =>
        collection.TestCollectionDisplayName.Contains(".EndToEnd.", StringComparison.Ordinal);
}
