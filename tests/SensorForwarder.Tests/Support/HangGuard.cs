using System.Collections.Concurrent;
using System.Globalization;
using System.Reflection;
using SensorForwarder.Tests.Support;
using Xunit.v3;

[assembly: HangGuard]

namespace SensorForwarder.Tests.Support;

/// <summary>Aborts the run with the name of the test if a test hangs. <c>TEST_HANG_MINUTES</c> (default 10) is the
/// limit; long sweeps raise it.</summary>
[AttributeUsage(AttributeTargets.Assembly)]
public sealed class HangGuardAttribute : BeforeAfterTestAttribute
{
    static readonly TimeSpan Limit = TimeSpan.FromMinutes(
        double.Parse(Environment.GetEnvironmentVariable("TEST_HANG_MINUTES") ?? "10", CultureInfo.InvariantCulture));

    static readonly ConcurrentDictionary<string, Timer> Running = new();

    public override void Before(MethodInfo methodUnderTest, IXunitTest test) =>
        Running[test.UniqueID] = new Timer(
            _ => Environment.FailFast(
                $"{test.TestDisplayName} has not ended after {Limit.TotalMinutes} minutes (TEST_HANG_MINUTES)"),
            null, Limit, Timeout.InfiniteTimeSpan);

    public override void After(MethodInfo methodUnderTest, IXunitTest test)
    {
        if (Running.TryRemove(test.UniqueID, out var timer)) timer.Dispose();
    }
}
