using SensorForwarder.Operations.Web;

namespace SensorForwarder.Tests.Operations;

public sealed class RequestGuardTests
{
    static readonly RequestGuard Guard = new("pi.example.com");

    [Theory]
    [InlineData("localhost")]
    [InlineData("127.0.0.1")]
    [InlineData("192.168.1.7")]
    [InlineData("[::1]")]
    [InlineData("[fe80::1]")]
    [InlineData("SensorForwarder")]
    [InlineData("pi-7.local")]
    [InlineData("PI.Example.COM")]
    [InlineData("pi.example.com.")]
    public void Addresses_and_names_of_the_local_network_are_served(string host) => Assert.True(Guard.IsOwn(host));

    [Theory]
    [InlineData("")]
    [InlineData(".")]
    [InlineData("evil.example.com")]
    [InlineData("pi.example.com.evil.net")]
    [InlineData("127.0.0.1.nip.io")]
    [InlineData("local.evil.net")]
    public void Names_that_a_stranger_may_point_at_the_module_are_refused(string host) => Assert.False(Guard.IsOwn(host));
}
